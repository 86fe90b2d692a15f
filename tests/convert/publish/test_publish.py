"""What is published is what a device sees, whole; killed anywhere, it sees the old or the new repository."""

from __future__ import annotations

import errno
import hashlib
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.chunks.index import ChunkIndex
from agent.errors import ArtifactError, DiskFullError, EdgeAgentError, HashMismatchError, RequestError
from agent.store.manifest import decode_manifest
from convert.publish.keys import KeyRing
from convert.publish.publish import publish
from convert.publish.show import models
from tests.convert.publish.published import MODEL, Killed, Repository, artifact


def test_a_device_gets_what_was_published(repository: Repository) -> None:
    published = repository.publish("1")
    assert (published.lacking, published.pruned, published.chunks) == ((), (), 5)
    device = repository.device()
    assert device.latest() == "1"
    manifest = device.read("models/toy/1/manifest.json")
    assert manifest is not None
    for file in decode_manifest(manifest).files:
        data = device.read(f"models/toy/1/{file.path}")
        listed = device.read(f"models/toy/1/{file.path}.chunks")
        assert data is not None
        assert listed is not None
        index = ChunkIndex.decode(listed)
        assert (index.bytes, index.sha256) == (file.bytes, file.sha256)
        for chunk in index:
            assert hashlib.sha256(data[chunk.offset : chunk.offset + chunk.length]).digest() == chunk.sha256


def test_the_last_one_published_is_the_latest_and_the_others_stay(repository: Repository) -> None:
    device = repository.device()
    for version in ("1", "2", "10", "9"):
        repository.publish(version)
        assert device.latest() == version
    assert device.read("models/toy/1/model.onnx") == MODEL + b"1"
    assert [one.release.version for one in models(repository.path)] == ["1", "2", "10", "9"]


def test_an_old_version_can_be_made_the_latest_again(repository: Repository) -> None:
    repository.publish("1")
    repository.publish("2")
    repository.publish("1")
    assert repository.device().latest() == "1"


def test_the_files_of_a_version_never_change(repository: Repository) -> None:
    repository.publish("1")
    with pytest.raises(ArtifactError, match="published with other content"):
        repository.publish("1", files={"model.onnx": b"other"})
    assert repository.device().read("models/toy/1/model.onnx") == MODEL + b"1"


def test_a_file_that_is_there_takes_no_space_twice(repository: Repository) -> None:
    for version in ("1", "2"):
        repository.publish(version, files={"model.onnx": MODEL, "notes.txt": version.encode()})
    first, second = sorted((repository.path / "targets").rglob("*.model.onnx"))
    assert first.stat().st_ino == second.stat().st_ino


@pytest.mark.parametrize(("keep", "left"), [(1, ["5"]), (3, ["3", "4", "5"]), (9, ["1", "2", "3", "4", "5"])])
def test_the_newest_are_kept(repository: Repository, keep: int, left: list[str]) -> None:
    for version in "1234":
        repository.publish(version)
    pruned = repository.publish("5", keep=keep).pruned
    assert sorted([*pruned, *left]) == ["1", "2", "3", "4", "5"]
    assert [one.release.version for one in models(repository.path)] == left
    device = repository.device()
    for version in "12345":
        assert (device.read(f"models/toy/{version}/model.onnx") is not None) == (version in left)


def test_what_was_pruned_leaves_the_disk_one_publication_later(repository: Repository) -> None:
    repository.publish("1")
    repository.publish("2", keep=1)
    old = repository.path / "targets/models/toy/1"
    assert len(list(old.rglob("*.onnx"))) == 1  # a device may be half through it
    repository.publish("3", keep=1)
    assert not old.exists()
    assert sorted(path.name for path in (repository.path / "metadata").iterdir()) == [
        "1.root.json", "2.targets.json", "2.targets~toy.json", "3.snapshot.json", "3.targets~toy.json",
        "4.snapshot.json", "timestamp.json",
    ]  # fmt: skip


def test_other_models_are_not_pruned(repository: Repository, tmp_path: Path) -> None:
    publish(artifact(tmp_path / "a", "1", name="other"), repository.path, repository.created.ring)
    for version in "123":
        repository.publish(version, keep=1)
    assert repository.device().latest("other") == "1"


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        (lambda folder: (folder / "model.onnx").write_bytes(b"short"), HashMismatchError, "not as manifest.json"),
        (lambda folder: (folder / "model.onnx").write_bytes(MODEL + b"9"), HashMismatchError, "not as manifest.json"),
        (lambda folder: (folder / "model.onnx").write_bytes(MODEL + b"123"), HashMismatchError, "longer than"),
        (lambda folder: (folder / "model.onnx").unlink(), OSError, "No such file"),
        (lambda folder: (folder / "manifest.json").unlink(), ArtifactError, "has no manifest.json"),
        (lambda folder: (folder / "manifest.json").write_text("{"), ArtifactError, "not valid JSON"),
    ],
)
def test_an_artifact_that_is_not_whole_is_refused(
    repository: Repository, tmp_path: Path, change: object, kind: type[Exception], says: str
) -> None:
    repository.publish("0")
    made = artifact(tmp_path / "made", "1")
    assert callable(change)
    change(made)
    with pytest.raises(kind, match=says):
        publish(made, repository.path, repository.created.ring)
    assert repository.device().latest() == "0"
    assert not list(repository.path.rglob("*.part"))


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({"files": {"a.onnx": b"1", "a.onnx.chunks": b"2"}}, ArtifactError, "what the chunk index"),
        ({"files": {f"{'a' * 190}.onnx": b"1"}}, ArtifactError, "too long a file name"),
        ({"keep": 0}, RequestError, "--keep"),
        ({"device_class": "pi4"}, RequestError, "no device class pi4"),
        ({"device_class": "../pi4"}, RequestError, "cannot name a device class"),
        ({"device_class": "Root"}, RequestError, "cannot name a device class"),
    ],
)
def test_what_cannot_be_published(
    repository: Repository, options: dict[str, object], kind: type[EdgeAgentError], says: str
) -> None:
    with pytest.raises(kind, match=says):
        repository.publish("1", **options)  # type: ignore[arg-type]


def test_without_enough_space_nothing_is_begun(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.store.durable.Filesystem.free_bytes", lambda self, folder: 1_000_000)
    with pytest.raises(DiskFullError, match="1 MB free"):
        repository.publish("1")


def test_more_than_a_small_device_should_read_is_refused(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.publish("1")
    repository.publish("2")
    size = max(path.stat().st_size for path in (repository.path / "metadata").glob("*.targets~toy.json"))
    monkeypatch.setattr("convert.publish.session.METADATA_LIMIT_BYTES", size + 100)
    with pytest.raises(ArtifactError, match="The metadata of targets~toy would have") as caught:
        repository.publish("3")
    assert "--keep" in caught.value.hint
    assert repository.device().latest() == "2"
    repository.publish("3", keep=2)
    assert repository.device().latest() == "3"


def test_one_at_a_time(repository: Repository) -> None:
    def while_publishing(step: str) -> None:
        with pytest.raises(ArtifactError, match="Another command"):
            repository.publish("2")

    repository.publish("1", on_step=while_publishing)


def test_a_folder_without_a_repository_is_refused(tmp_path: Path) -> None:
    made = artifact(tmp_path / "made", "1")
    for place in (tmp_path / "absent", tmp_path / "made"):
        with pytest.raises(ArtifactError, match="is no repository"):
            publish(made, place, KeyRing())


@pytest.mark.parametrize(
    "name", ["timestamp.json", "2.snapshot.json", "2.targets.json", "1.targets~toy.json", "1.root.json"]
)
def test_a_damaged_repository_is_not_built_on(repository: Repository, name: str) -> None:
    repository.publish("1")
    path = repository.path / "metadata" / name
    path.write_bytes(path.read_bytes().replace(b'"expires":"2', b'"expires":"3'))
    with pytest.raises(ArtifactError, match="is damaged"):
        repository.publish("2")


def test_killed_at_any_step_it_is_the_old_repository_or_the_new_one(repository: Repository, tmp_path: Path) -> None:
    repository.publish("1")
    made = artifact(tmp_path / "made", "2")
    device = repository.device()
    number = 0
    while True:
        number += 1
        left = number

        def step(name: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed

        before = device.latest()
        try:
            publish(made, repository.path, repository.created.ring, on_step=step)
        except Killed:
            seen = device.latest()
            assert seen in ("1", "2")
            assert device.read(f"models/toy/{seen}/model.onnx") == MODEL + seen.encode()
            assert before == "1" or seen == "2"
        else:
            break
    assert number > 20
    assert device.latest() == "2"
    repository.publish("3")
    assert not list(repository.path.rglob("*.part"))


def test_the_latest_of_a_frozen_mirror_expires(repository: Repository) -> None:
    from tuf.api.exceptions import ExpiredMetadataError

    repository.publish("1", now=datetime.now(UTC) - timedelta(days=8))
    with pytest.raises(ExpiredMetadataError, match="timestamp"):
        repository.device().latest()


def test_a_broken_disk_is_an_error_of_the_system(repository: Repository) -> None:
    def broken(step: str) -> None:
        if step.startswith("write"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), "model.onnx")

    with pytest.raises(OSError, match="Input/output error"):
        repository.publish("1", on_step=broken)
    assert repository.device().latest() is None
