from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.errors import NotFoundError, RequestError
from agent.search.model_id import ModelId
from agent.search.name import check_name
from agent.search.shelf import Shelf
from tests.search.made_up import MODEL, embed_all, rows_of, take_all


def test_collections_are_made_listed_and_removed(shelf: Shelf) -> None:
    assert shelf.names() == []
    for name in ("b", "A.1"):
        shelf.create(name, MODEL).close()
    assert shelf.names() == ["A.1", "b"]
    shelf.remove("b")
    assert shelf.names() == ["A.1"]
    assert sorted(path.name for path in shelf.folder.iterdir()) == ["A.1.sqlite3"]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a..b", "-a", "ä", "a b", "x" * 65, "a\n", "a.sqlite3", "~"])
def test_a_name_that_is_no_safe_part_of_a_path_is_refused(shelf: Shelf, name: str) -> None:
    with pytest.raises(RequestError, match="cannot name a collection"):
        check_name(name)
    for act in (shelf.open, shelf.remove):
        with pytest.raises(RequestError):
            act(name)
    assert not shelf.folder.exists()


def test_a_name_that_is_taken_is_refused_and_what_is_there_stays(shelf: Shelf) -> None:
    first = shelf.create("facts", MODEL)
    take_all(first, rows_of(["text"]))
    with pytest.raises(RequestError, match="already"):
        shelf.create("facts", MODEL)
    assert first.stats().passages == 1
    first.close()


def test_a_name_that_is_not_there_is_told_with_those_that_are(shelf: Shelf) -> None:
    shelf.create("facts", MODEL).close()
    with pytest.raises(NotFoundError, match="no collection other; there is: facts"):
        shelf.open("other")
    with pytest.raises(NotFoundError):
        shelf.remove("other")


@pytest.mark.parametrize(
    "model", [ModelId("", "1", 3), ModelId("a", "", 3), ModelId("a", "1", 0), ModelId("a", "1", 10**6)]
)
def test_a_model_that_makes_no_sense_leaves_nothing_behind(shelf: Shelf, model: ModelId) -> None:
    with pytest.raises(RequestError):
        shelf.create("facts", model)
    assert shelf.names() == []
    assert list(shelf.folder.iterdir()) == []


def test_what_a_killed_creation_and_removal_left_is_cleared(shelf: Shelf) -> None:
    """A log without its database would be taken for the next database's own."""
    old = shelf.create("facts", MODEL)
    take_all(old, rows_of(["old text"] * 1))
    for suffix in ("-wal", "-shm"):
        path = old.path.with_name(old.path.name + suffix)
        path.with_suffix(path.suffix + ".kept").write_bytes(path.read_bytes())
    old.close()
    shelf.remove("facts")
    for kept in list(shelf.folder.glob("*.kept")):
        kept.rename(kept.with_name(kept.name.removesuffix(".kept")))
    dead = 2**22 - 3  # above the largest process id of most systems
    (shelf.folder / f".facts.{dead}").write_bytes(b"half a database")
    (shelf.folder / f".facts.{os.getppid()}").write_bytes(b"another process is at it")
    new = shelf.create("facts", MODEL)
    assert new.stats().passages == 0
    new.check()
    new.close()
    assert sorted(path.name for path in shelf.folder.iterdir()) == [f".facts.{os.getppid()}", "facts.sqlite3"]


def test_a_removed_collection_comes_back_empty(shelf: Shelf) -> None:
    first = shelf.create("facts", MODEL)
    take_all(first, rows_of(["text"]))
    embed_all(first)
    first.close()
    shelf.remove("facts")
    again = shelf.create("facts", MODEL)
    assert again.stats().passages == 0
    again.close()


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Exception, match=r"collections/facts\.sqlite3.*Not a directory"):
        Shelf(tmp_path / "file" / "collections").create("facts", MODEL)
