"""What every database file keeps to, whoever's it is."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from agent.errors import StoreError, UnavailableError
from agent.sqlite import DamagedError, DatabaseFile, snapshot, transaction


def m001_notes(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE notes (text TEXT)")


def m002_times(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE notes ADD COLUMN at REAL")


def m003_breaks(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE half (a)")
    raise RuntimeError("killed")


NOTES = DatabaseFile(title="note book", application_id=0x4541544E, migrations=(m001_notes,), checked=True)


def pragma(connection: sqlite3.Connection, name: str) -> object:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def test_a_new_file_is_its_owner_s_and_outlives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "deeper" / "notes.db"
    connection = NOTES.connect(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert pragma(connection, "journal_mode") == "wal"
    assert pragma(connection, "mmap_size") == 0
    assert int.from_bytes(path.read_bytes()[68:72], "big") == NOTES.application_id


def test_a_durable_transaction_is_synced_and_others_are_not(tmp_path: Path) -> None:
    connection = NOTES.connect(tmp_path / "notes.db")
    for durable, level in ((False, 1), (True, 2), (False, 1)):
        with transaction(connection, durable=durable):
            assert pragma(connection, "synchronous") == level


def test_a_transaction_is_all_or_nothing(tmp_path: Path) -> None:
    connection = NOTES.connect(tmp_path / "notes.db")

    def killed_half_way() -> None:
        with transaction(connection, durable=False):
            connection.execute("INSERT INTO notes VALUES ('half')")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        killed_half_way()
    assert connection.execute("SELECT count(*) FROM notes").fetchone() == (0,)


def test_a_snapshot_is_of_one_moment(tmp_path: Path) -> None:
    one, other = (NOTES.connect(tmp_path / "notes.db") for _ in range(2))
    with snapshot(one):
        before = one.execute("SELECT count(*) FROM notes").fetchone()
        other.execute("INSERT INTO notes VALUES ('new')")
        assert one.execute("SELECT count(*) FROM notes").fetchone() == before == (0,)
    assert one.execute("SELECT count(*) FROM notes").fetchone() == (1,)


def test_migrations_go_on_where_they_were_each_whole(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    NOTES.connect(path).close()
    broken = DatabaseFile(title="note book", application_id=NOTES.application_id, migrations=(m001_notes, m003_breaks))
    with pytest.raises(RuntimeError):
        broken.connect(path)
    later = DatabaseFile(title="note book", application_id=NOTES.application_id, migrations=(m001_notes, m002_times))
    connection = later.connect(path)
    assert connection.execute("SELECT name FROM sqlite_schema ORDER BY name").fetchall() == [("notes",)]
    connection.execute("INSERT INTO notes VALUES ('a', 1.5)")
    connection.close()
    with pytest.raises(StoreError, match=r"note book .* newer version"):
        NOTES.connect(path)


@pytest.mark.parametrize("content", [b"this is no database, " * 99, b"SQLite format 3\0" + b"\xff" * 4000])
def test_a_damaged_file_is_set_aside_beside_earlier_ones(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.db"
    for number in range(4):
        path.write_bytes(content + bytes([number]))
        with pytest.raises(DamagedError, match="note book"):
            NOTES.connect(path)
        NOTES.set_aside(path, kept=3)
    assert sorted(each.name for each in tmp_path.iterdir()) == [f"notes.db.damaged-{n}" for n in (1, 2, 3)]
    assert path.with_name("notes.db.damaged-1").read_bytes()[-1] == 3


def test_a_database_of_another_kind_is_not_written_to(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    with sqlite3.connect(path) as theirs:
        theirs.execute("CREATE TABLE theirs (a)")
    before = path.read_bytes()
    with pytest.raises(DamagedError, match="but not a note book"):
        NOTES.connect(path)
    assert path.read_bytes() == before


def test_a_lock_of_another_process_is_waited_for_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.sqlite.BUSY_S", 0.01)
    path = tmp_path / "notes.db"
    one, other = NOTES.connect(path), NOTES.connect(path)
    with (
        transaction(one, durable=False),
        pytest.raises(UnavailableError, match="Another process is using the note book"),
        NOTES.translated(path),
        transaction(other, durable=False),
    ):
        raise AssertionError("two writers")
