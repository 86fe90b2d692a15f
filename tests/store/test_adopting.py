"""A folder that was filled inside the store becomes a version by one rename."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from agent.errors import ArtifactError, DiskFullError, StoreError
from agent.store.durable import Filesystem
from agent.store.store import Store
from tests.store.material import artifact, random_bytes, small_store

FILES = {"model.gguf": random_bytes(5000), "more/words.txt": b"words"}


def filled(store: Store, key: str = "key", version: str = "2", **changes: object) -> Path:
    return artifact(store.incoming.folder(key), FILES, name="m", version=version, **changes)


def test_it_becomes_a_version_that_is_not_active_and_no_byte_is_copied(tmp_path: Path) -> None:
    store = small_store(tmp_path)
    inode = (filled(store) / "model.gguf").stat().st_ino
    model = store.incoming.adopt("key", "m", "2")
    assert (model.version, model.active) == ("2", False)
    assert model.main_path.stat().st_ino == inode
    assert store.verify("m", "2").version == "2"
    assert store.incoming.keys() == []


def test_asked_again_it_finds_that_it_has_been_done(tmp_path: Path) -> None:
    store = small_store(tmp_path)
    filled(store)
    assert store.incoming.adopt("key", "m", "2") == store.incoming.adopt("key", "m", "2")
    filled(store)
    assert store.incoming.adopt("key", "m", "2").version == "2"
    assert store.incoming.keys() == []


def test_a_folder_is_kept_by_the_sweep_of_the_next_start(tmp_path: Path) -> None:
    filled(small_store(tmp_path))
    store = small_store(tmp_path)
    assert store.incoming.keys() == ["key"]
    assert store.scan().models == ()
    store.incoming.remove("key")
    store.incoming.remove("key")
    assert store.incoming.keys() == []


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "model.gguf").write_bytes(b"short"), "model.gguf is not there as a file of 5000"),
        (lambda folder: (folder / "model.gguf").unlink(), "model.gguf is not there"),
        (lambda folder: (folder / "extra").write_bytes(b""), "'extra' is not in the manifest"),
        (lambda folder: (folder / "manifest.json").unlink(), "manifest.json of m 2 is not there"),
        (lambda folder: (folder / "manifest.json").write_bytes(b"{"), "not valid JSON"),
        (
            lambda folder: ((folder / "model.gguf").unlink(), (folder / "model.gguf").symlink_to("/etc/passwd")),
            "model.gguf is not there as a file",
        ),
    ],
)
def test_what_is_not_exactly_the_artifact_stays_outside(tmp_path: Path, spoil: object, words: str) -> None:
    store = small_store(tmp_path)
    folder = filled(store)
    spoil(folder)  # type: ignore[operator]
    with pytest.raises(ArtifactError, match=words):
        store.incoming.adopt("key", "m", "2")
    assert store.scan().models == ()


def test_it_must_be_the_version_that_was_asked_for(tmp_path: Path) -> None:
    store = small_store(tmp_path)
    filled(store)
    with pytest.raises(ArtifactError, match="is that of m 2"):
        store.incoming.adopt("key", "m", "3")
    with pytest.raises(ArtifactError, match="is that of m 2"):
        store.incoming.adopt("key", "n", "2")


def test_a_version_that_is_there_is_never_changed(tmp_path: Path) -> None:
    store = small_store(tmp_path)
    filled(store)
    store.incoming.adopt("key", "m", "2")
    filled(store, license="other")
    with pytest.raises(ArtifactError, match="already in the store and is something else") as caught:
        store.incoming.adopt("key", "m", "2")
    assert caught.value.param == "version"


@pytest.mark.parametrize("key", ["", "..", "a/b", ".hidden"])
def test_a_key_is_one_safe_name(tmp_path: Path, key: str) -> None:
    with pytest.raises(StoreError, match="cannot name a folder"):
        small_store(tmp_path).incoming.folder(key)


def test_room_counts_what_is_there_already(tmp_path: Path) -> None:
    class Tight(Filesystem):
        def free_bytes(self, folder: Path) -> int:
            return 10_000

    store = small_store(tmp_path, filesystem=Tight(), margin_bytes=5000)
    store.incoming.check_room("key", 5000)
    with pytest.raises(DiskFullError, match="MB free"):
        store.incoming.check_room("key", 5001)
    with (store.incoming.folder("key") / "half").open("wb") as half:
        half.write(b"x" * 8192)
        os.fsync(half.fileno())  # before that the file system may not have given it its blocks
    store.incoming.check_room("key", 5000 + 8192)


def test_a_disk_that_fails_leaves_the_folder(tmp_path: Path) -> None:
    def fail(step: str) -> None:
        if step == "rename to 2":
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    store = small_store(tmp_path, filesystem=Filesystem(fail))
    filled(store)
    with pytest.raises(StoreError, match="Input/output error"):
        store.incoming.adopt("key", "m", "2")
    assert store.incoming.keys() == ["key"]
