"""The updates' database file: opening, its schema, SQLite's errors in the project's words.

Write-ahead log. A move of an update is committed with `synchronous=FULL`: it outlives a power cut. Progress and
counts, which would come about again, are committed with NORMAL, which wears a card less.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from agent.errors import DiskFullError, EdgeAgentError, StoreError, UnavailableError

APPLICATION_ID: Final = 0x45415550  # "EAUP"
BUSY_S: Final = 2.0
_CHECKPOINT_PAGES: Final = 64
_LOG_LIMIT_BYTES: Final = 256 * 1024

Migration = Callable[[sqlite3.Connection], None]


class DamagedError(StoreError):
    """The file is no database, or a broken one: it can only be set aside."""

    code = "journal_damaged"


def m001_updates(connection: sqlite3.Connection) -> None:
    """`moves` tells how an update came to its state. `spent` is what came over the network on a local date."""
    for statement in (
        """CREATE TABLE updates (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            name TEXT NOT NULL, target TEXT, origin TEXT NOT NULL, rev TEXT NOT NULL, terms BLOB NOT NULL,
            state TEXT NOT NULL, final INTEGER NOT NULL, reason TEXT NOT NULL,
            version TEXT, digest TEXT, adopted INTEGER NOT NULL, previous TEXT,
            attempts INTEGER NOT NULL, retry_at REAL, interruptions INTEGER NOT NULL,
            bytes_done INTEGER NOT NULL, bytes_total INTEGER NOT NULL, bytes_missing INTEGER NOT NULL,
            bytes_fetched INTEGER NOT NULL, bytes_best INTEGER NOT NULL,
            figures BLOB NOT NULL, served_s REAL NOT NULL,
            requests_ok INTEGER NOT NULL, requests_failed INTEGER NOT NULL, crashes INTEGER NOT NULL,
            created_at REAL NOT NULL, changed_at REAL NOT NULL
        )""",
        "CREATE INDEX unfinished ON updates (id) WHERE final = 0",
        "CREATE INDEX by_name ON updates (name, id)",
        """CREATE TRIGGER an_end_is_final BEFORE UPDATE OF state ON updates WHEN OLD.final AND NEW.state <> OLD.state
            BEGIN SELECT RAISE(ABORT, 'an update that has ended stays so'); END""",
        """CREATE TABLE moves (
            id INTEGER NOT NULL, number INTEGER NOT NULL, at REAL NOT NULL,
            move TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (id, number)
        ) WITHOUT ROWID""",
        "CREATE TRIGGER without_an_update AFTER DELETE ON updates BEGIN DELETE FROM moves WHERE id = OLD.id; END",
        """CREATE TABLE rejected (
            digest TEXT PRIMARY KEY, name TEXT NOT NULL, version TEXT NOT NULL, reason TEXT NOT NULL, at REAL NOT NULL
        ) WITHOUT ROWID""",
        "CREATE TABLE spent (day TEXT PRIMARY KEY, bytes INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE TABLE facts (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID",
    ):
        connection.execute(statement)


MIGRATIONS: Final[tuple[Migration, ...]] = (m001_updates,)
"""In the order in which they are applied. Add at the end; never change one that was released."""


def connect(path: Path) -> sqlite3.Connection:
    """In autocommit mode, for one thread at a time; made where it is missing, for its owner only.

    Raises `DamagedError`, `DiskFullError`, `StoreError`, `UnavailableError` (another process has it).
    """
    with translated(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        uri = f"file:{quote(str(path.absolute()))}?mode=rw"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_S, check_same_thread=False)
        try:
            _configure(connection, path)
            _migrate(connection, path)
            if (found := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise DamagedError(f"The update journal {path} is damaged ({found}).")
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection, *, durable: bool) -> Iterator[None]:
    """All of it or nothing. `durable`: on the disk when this ends."""
    connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite itself rolls back when the disk is full
            connection.execute("ROLLBACK")
        raise


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """SQLite's errors become ours, naming the file."""
    try:
        yield
    except sqlite3.Error as error:
        raise _translate(error, path) from error
    except OSError as error:
        raise StoreError(f"The update journal {path}: {error.strerror or error}.") from error


def set_aside(path: Path) -> Path:
    """Moves a damaged file and its log out of the way; the one set aside before is gone then. Raises `StoreError`."""
    with translated(path):
        aside = path.with_name(f"{path.name}.damaged")
        path.replace(aside)
        for end in ("-wal", "-shm"):
            path.with_name(path.name + end).unlink(missing_ok=True)
    return aside


def _configure(connection: sqlite3.Connection, path: Path) -> None:
    made = connection.execute("PRAGMA schema_version").fetchone()[0]
    if made and connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise DamagedError(f"{path} is a database, but not an update journal.")
    if not made:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA mmap_size = 0")  # a read error of a worn card would end the process with SIGBUS
    connection.execute("PRAGMA cell_size_check = ON")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {_LOG_LIMIT_BYTES}")


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    done = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if done > len(MIGRATIONS):
        raise StoreError(
            f"The update journal {path} was written by a newer version of edge-agent.",
            hint="Update edge-agent, or remove the file.",
        )
    for number, migration in enumerate(MIGRATIONS[done:], done + 1):
        with transaction(connection, durable=True):
            migration(connection)
            connection.execute(f"PRAGMA user_version = {number}")


def _translate(error: sqlite3.Error, path: Path) -> EdgeAgentError:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT):
        return DamagedError(f"The update journal {path} is damaged ({error}).")
    if code == sqlite3.SQLITE_ERROR and "no such" in str(error):
        return DamagedError(f"The update journal {path} lacks a part ({error}).")
    if code == sqlite3.SQLITE_FULL:
        return DiskFullError("The device's disk is full, so no update can be written down.", hint="Free some space.")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL):
        return UnavailableError(f"Another process is using the update journal {path}.")
    return StoreError(
        f"The update journal {path} cannot be read or written ({error}).",
        hint="Check the disk, and who may write there.",
    )
