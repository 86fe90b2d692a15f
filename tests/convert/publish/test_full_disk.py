"""A disk that becomes full while a repository is changed: devices see the old one or the new one, whole; what was
written for nothing is gone; and with room again the same command works."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.errors import DiskFullError
from convert.publish.changes import rotate
from convert.publish.create import create
from convert.publish.keys import load_keys, new_key, save_key
from convert.publish.publish import publish
from convert.publish.roles import ROOT
from tests.convert.publish.published import MODEL, Device, Repository, artifact, new_repository
from tests.small_disk import small_disk

NEEDS_ROOM = ("create", "write", "mkdir", "allocate", "copy", "link")
PAGE_BYTES = 4096


class Disk:
    """Has no room from step number `full_at` on that needs some."""

    def __init__(self, full_at: int) -> None:
        self.full_at = full_at
        self.count = 0

    def __call__(self, step: str) -> None:
        if step.startswith(NEEDS_ROOM):
            self.count += 1
            if self.count > self.full_at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), step)


def tree(repository: Path) -> set[str]:
    return {str(path.relative_to(repository)) for path in repository.rglob("*") if path.is_file()}


def full_at_each_step(change: Callable[[Disk], object], check: Callable[[], object]) -> int:
    """Does `change` until the disk has room for all of it; how often it had not."""
    for number in range(500):
        try:
            change(Disk(number))
        except DiskFullError:
            check()
        else:
            return number
    raise AssertionError("it never ends")


def test_publishing_full_at_any_step(repository: Repository, tmp_path: Path) -> None:
    repository.publish("1")
    made = artifact(tmp_path / "made", "2")
    device, before = repository.device(), tree(repository.path)

    def check() -> None:
        seen = device.latest()
        assert seen in ("1", "2")
        assert device.read(f"models/toy/{seen}/model.onnx") == MODEL + str(seen).encode()
        if seen == "1":
            assert tree(repository.path) == before

    count = full_at_each_step(lambda disk: publish(made, repository.path, repository.created.ring, on_step=disk), check)
    assert count > 10
    assert device.latest() == "2"


def test_a_rotation_full_at_any_step(repository: Repository, tmp_path: Path) -> None:
    repository.publish("1")
    device = repository.device()
    ring = repository.created.ring

    def change(disk: Disk) -> None:
        nonlocal ring
        ring = rotate(repository.path, ring, ROOT, tmp_path / "new", on_step=disk).ring

    def check() -> None:
        assert device.latest() == "1"
        load_keys([repository.keys])

    assert full_at_each_step(change, check) > 3
    assert device.latest() == "1"


def test_a_new_repository_full_at_any_step(tmp_path: Path) -> None:
    """Also that of the keys: each attempt begins anew, in the same two folders, or ends what was begun."""
    repo, keys = tmp_path / "repo", tmp_path / "keys"

    def change(disk: Disk) -> None:
        if (repo / ".staged").is_dir():
            load_keys([keys])
            raise EndedError
        create(repo, keys, on_step=disk)

    def check() -> None:
        assert (repo / ".staged").is_dir() or not keys.exists() or not any(keys.iterdir())

    with pytest.raises(EndedError):
        full_at_each_step(change, check)
    made = artifact(tmp_path / "made", "1")
    publish(made, repo, load_keys([keys]))


class EndedError(Exception):
    """All is decided and on the disk: the next command puts it into place."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", mebibytes=3) as folder:
        yield folder


def leave(folder: Path, pages: int) -> Path:
    """A file that leaves so many pages of the disk free."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * PAGE_BYTES)
        except OSError:
            size = file.tell()
    os.truncate(filler, max(0, size - pages * PAGE_BYTES))
    return filler


def test_a_real_disk_that_is_full(disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convert.publish.publish.MARGIN_BYTES", -1_000_000_000)  # another program was faster
    repository = new_repository(disk)
    publish(artifact(tmp_path / "first", "1"), repository.path, repository.created.ring)
    made = artifact(tmp_path / "made", "2")
    (tmp_path / "seen").mkdir()
    device = Device(repository.path, tmp_path / "seen", repository.created.root.read_bytes())
    told: list[str] = []
    before, needed = tree(repository.path), (len(MODEL) // PAGE_BYTES) + 12
    for pages in [*range(0, needed - 12, 12), *range(needed - 12, needed + 12)]:
        filler = leave(disk, pages)
        try:
            publish(made, repository.path, repository.created.ring)
        except DiskFullError as error:
            told.append(str(error))
            filler.unlink()
            assert device.latest() == "1"
            assert device.read("models/toy/1/model.onnx") == MODEL + b"1"
            assert tree(repository.path) == before
        else:
            break
    assert len(told) > 5
    assert all("Devices see it as it was" in text and "Make room" in text for text in told)
    assert device.latest() == "2"
    assert device.read("models/toy/2/model.onnx") == MODEL + b"2"


def test_half_a_key_is_no_key(disk: Path) -> None:
    save_key(new_key(), "root", disk / "keys")
    leave(disk, 0)
    with pytest.raises(OSError, match="No space left"):
        save_key(new_key(), "targets", disk / "keys")
    assert len(load_keys([disk / "keys"])) == 1
