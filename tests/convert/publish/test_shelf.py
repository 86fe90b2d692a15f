"""Blocks are read from the repository's files and from nothing else, as they are now."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from agent.errors import NotFoundError
from convert.publish.shelf import Shelf
from tests.convert.publish.published import MODEL, Repository


class Clock:
    now = 0.0

    def __call__(self) -> float:
        self.now += 10
        return self.now


def key(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_target_is_read_by_its_hash(repository: Repository) -> None:
    repository.publish("1")
    shelf = Shelf(repository.path)
    data = MODEL + b"1"
    assert shelf.read(key(data), 0, 1000) == data[:1000]
    assert shelf.read(key(data), 199_990, 1000) == data[199_990:]
    assert shelf.read(key(data), 10**9, 1000) == b""


def test_metadata_is_read_by_its_name(repository: Repository) -> None:
    shelf = Shelf(repository.path)
    assert shelf.read("1.root.json", 0, 10**6) == repository.created.root.read_bytes()
    before = shelf.read("timestamp.json", 0, 10**6)
    repository.publish("1")
    assert shelf.read("timestamp.json", 0, 10**6) != before


def test_what_is_published_later_is_found(repository: Repository) -> None:
    shelf = Shelf(repository.path, Clock())
    with pytest.raises(NotFoundError):
        shelf.read(key(MODEL + b"1"), 0, 10)
    repository.publish("1")
    assert shelf.read(key(MODEL + b"1"), 0, 10) == MODEL[:10]


def test_what_was_pruned_is_gone(repository: Repository) -> None:
    repository.publish("1")
    shelf = Shelf(repository.path, Clock())
    assert shelf.read(key(MODEL + b"1"), 0, 10)
    for version in "23":
        repository.publish(version, keep=1)
    for _ in range(2):
        with pytest.raises(NotFoundError, match="no file"):
            shelf.read(key(MODEL + b"1"), 0, 10)


@pytest.mark.parametrize(
    "name",
    [
        "../../keys/root/x.json",
        ".lock",
        "2.root.json",
        "timestamp",
        "",
        "0" * 64,
        "..json",
        "targets/x.json",
        "%2e.json",
    ],
)
def test_nothing_else_is_read(repository: Repository, name: str) -> None:
    with pytest.raises(NotFoundError):
        Shelf(repository.path).read(name, 0, 10)


def test_strangers_asking_for_what_is_not_there_cost_little(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Shelf(repository.path, lambda: 5.0)
    looks: list[Path] = []

    def walk(path: Path) -> list[tuple[str, list[str], list[str]]]:
        looks.append(path)
        return []

    monkeypatch.setattr("os.walk", walk)
    for number in range(100):
        with pytest.raises(NotFoundError):
            shelf.read(key(b"%d" % number), 0, 10)
    assert len(looks) == 1


def test_a_name_that_is_a_pipe_does_not_stop_it(repository: Repository) -> None:
    os.mkfifo(repository.path / "metadata/9.root.json")
    with pytest.raises(OSError, match="not a regular file"):
        Shelf(repository.path).read("9.root.json", 0, 10)
