"""Damage, full disks, locks and missing rights: each a clear error, and the collection as it was."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from agent.errors import DiskFullError, EdgeAgentError, NotFoundError, StoreError, UnavailableError
from agent.search.collection import Collection
from agent.search.database import COLLECTION, LockedError, connect
from agent.search.migrations import MIGRATIONS, applied, migrate
from agent.search.query import Query
from agent.search.row import Row
from agent.search.shelf import Shelf
from tests.search.made_up import MODEL, embed_all, rows_of, take_all, vector_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("content", [b"", b"not a database at all, " * 500, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_collection_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.sqlite3"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"x\.sqlite3"):
        Collection(path)
    assert path.read_bytes() == content


def test_another_program_s_database_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite3"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="not one of a collection"):
        Collection(path)
    assert path.read_bytes() == before


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        Collection(tmp_path / "x.sqlite3")
    assert list(tmp_path.iterdir()) == []


def test_a_database_whose_creation_was_killed_says_so(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite3"
    connection = connect(path, create=True)
    migrate(connection, path)
    connection.close()
    with pytest.raises(StoreError, match="never finished"):
        Collection(path)


def test_damage_anywhere_is_a_clear_error_or_no_harm(shelf: Shelf, tmp_path: Path) -> None:
    """Pages are overwritten in a copy. It may be found or not, but nothing other than our errors comes out."""
    made = shelf.create("facts", MODEL)
    take_all(made, rows_of([f"text number {n}" for n in range(1_200)]))
    embed_all(made, 256)
    made.close()
    whole = made.path.read_bytes()
    chance = random.Random(2)
    found = 0
    for turn in range(40):
        path = tmp_path / f"{turn}.sqlite3"
        damaged = bytearray(whole)
        start = chance.randrange(100, len(whole) - 2_000)
        damaged[start : start + 2_000] = chance.randbytes(2_000)
        path.write_bytes(damaged[: chance.choice([len(damaged), len(damaged), len(damaged) // 2])])
        try:
            broken = Collection(path)
        except StoreError:
            found += 1
            continue
        for act in (
            broken.check,
            lambda broken=broken: broken.search(Query(vector=vector_of("x"), text="text", mode="hybrid")),
            lambda broken=broken: broken.search(Query(vector=vector_of("x"), filter={"even": True})),
            lambda broken=broken: take_all(broken, [Row("new", "new"), Row("7", "changed")]),
            lambda broken=broken: embed_all(broken),
            lambda broken=broken: broken.remove(["3"]),
        ):
            try:
                act()
            except EdgeAgentError as error:
                found += isinstance(error, StoreError)
        broken.close()
    assert found > 20


def test_a_full_disk_keeps_what_was_committed_and_lets_the_rest_be_done_later(collection: Collection) -> None:
    take_all(collection, rows_of([f"text number {n}" for n in range(1_500)]))
    connection = collection._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 3}")
    with pytest.raises(DiskFullError, match="disk is full") as caught:
        embed_all(collection, 64)
    assert "goes on where it stopped" in caught.value.hint
    kept = 1_500 - collection.stats().waiting
    assert 0 < kept < 1_500
    with pytest.raises(DiskFullError):
        take_all(collection, [Row(f"new {n}", "long text " * 2_000) for n in range(200)], "b.csv")
    connection.execute("PRAGMA max_page_count = 1000000")
    assert len(embed_all(collection, 64)) == 1_500 - kept
    collection.check()
    assert collection.stats().passages == 1_500


def test_a_collection_that_another_process_writes_to_can_be_read_but_not_written(collection: Collection) -> None:
    take_all(collection, rows_of(["one", "two"]))
    embed_all(collection)
    program = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute('BEGIN IMMEDIATE');"
        "print('locked', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(collection.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        collection._connection.execute("PRAGMA busy_timeout = 50")
        with pytest.raises(LockedError, match=r"Another process is writing to facts\.sqlite3"):
            collection.remove(["0"])
        assert len(collection.search(Query(vector=vector_of("one")))) == 2
        other.communicate(b"")
    assert collection.remove(["0"]) == 1


def test_a_collection_without_the_right_to_write_is_a_clear_error() -> None:
    """In a folder of its own, as pytest's are closed to other users."""
    program = (
        "import os, sys; from pathlib import Path; from agent.errors import EdgeAgentError\n"
        "from agent.search.collection import Collection\n"
        "if os.geteuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try: Collection(Path(sys.argv[1])).remove(['0'])\n"
        "except EdgeAgentError as error: print(type(error).__name__, error)"
    )
    with tempfile.TemporaryDirectory() as name:
        shelf = Shelf(Path(name) / "collections")
        made = shelf.create("facts", MODEL)
        take_all(made, rows_of(["one"]))
        made.close()
        Path(name).chmod(0o755)
        made.path.chmod(0o444)
        shelf.folder.chmod(0o555)
        command = [sys.executable, "-c", program, str(made.path)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
        shelf.folder.chmod(0o755)
    assert done.stdout.startswith("StoreError"), done
    assert "must be writable" in done.stdout
    assert str(made.path) in done.stdout


def test_migrations_are_applied_once_in_order_and_each_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite3"
    connection = connect(path, create=True)

    def m002_more(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE more (a)")

    def m003_breaks(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE half (a)")
        raise RuntimeError("killed")

    first = MIGRATIONS[0].__name__
    assert migrate(connection, path) == [first]
    assert migrate(connection, path, (*MIGRATIONS, m002_more)) == ["m002_more"]
    assert migrate(connection, path, (*MIGRATIONS, m002_more)) == []
    with pytest.raises(RuntimeError):
        migrate(connection, path, (*MIGRATIONS, m002_more, m003_breaks))
    assert applied(connection) == [first, "m002_more"]
    assert connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'half'").fetchone() == (0,)
    with pytest.raises(StoreError, match="newer version"):
        migrate(connection, path)
    connection.close()


def test_the_file_says_what_it_is(collection: Collection) -> None:
    assert int.from_bytes(collection.path.read_bytes()[68:72], "big") == COLLECTION.application_id


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (sqlite3.SQLITE_FULL, DiskFullError),
        (sqlite3.SQLITE_BUSY, UnavailableError),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, UnavailableError),
        (sqlite3.SQLITE_CORRUPT_VTAB, StoreError),
        (sqlite3.SQLITE_IOERR_READ, StoreError),
        (sqlite3.SQLITE_READONLY_DIRECTORY, StoreError),
        (sqlite3.SQLITE_INTERRUPT, UnavailableError),
        (None, StoreError),
    ],
)
def test_every_code_of_sqlite_becomes_an_error_of_ours(code: int | None, error: type[EdgeAgentError]) -> None:
    given = sqlite3.OperationalError("it said this")
    if code is not None:
        given.sqlite_errorcode = code
    made = COLLECTION.translate(given, Path("/x/facts.sqlite3"))
    assert type(made) is error or isinstance(made, LockedError)
    assert "facts.sqlite3" in str(made)
