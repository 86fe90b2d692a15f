"""The journal's database file: opening, its schema, SQLite's errors in the project's words.

Write-ahead log with `synchronous=FULL`: what was committed outlives a power cut. Commits that may be lost, because
the same would come about again, are made with NORMAL, which writes 15 times faster and wears less. Not memory-mapped: a
read error of a worn card would end the process with SIGBUS.
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

PAGE_BYTES: Final = 4096
APPLICATION_ID: Final = 0x4541434A  # "EACJ"
BUSY_S: Final = 2.0
DAMAGED_KEPT: Final = 3
_CACHE_KIB: Final = 1024
_CHECKPOINT_PAGES: Final = 256
_LOG_LIMIT_BYTES: Final = 1024 * 1024

Migration = Callable[[sqlite3.Connection], None]


class DamagedError(StoreError):
    """The file is no database, or a broken one: it can only be set aside."""

    code = "journal_damaged"


def m001_commands(connection: sqlite3.Connection) -> None:
    """`bodies` are apart, so that a change of state does not write them again. `remembered` has only the ends of
    commands whose details were dropped, by a hash of what makes them the same, until the journal's own time `until_s`.
    """
    for statement in (
        """CREATE TABLE commands (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            operation TEXT NOT NULL, id TEXT NOT NULL, rpc INTEGER NOT NULL, digest BLOB NOT NULL,
            packet_id INTEGER NOT NULL, state INTEGER NOT NULL, said INTEGER, cleared INTEGER NOT NULL,
            attempts INTEGER NOT NULL, instance TEXT NOT NULL, granted_s REAL NOT NULL, ended_s REAL,
            expires_at REAL, left_s REAL, arrived_up_s REAL NOT NULL, arrived_wall_s REAL NOT NULL, boot TEXT NOT NULL,
            response_topic TEXT, correlation BLOB, reason TEXT NOT NULL, code TEXT NOT NULL,
            piece_count INTEGER NOT NULL,
            UNIQUE (operation, id, rpc)
        )""",
        "CREATE TABLE bodies (seq INTEGER PRIMARY KEY, request BLOB, result BLOB)",
        "CREATE TRIGGER without_a_command AFTER DELETE ON commands BEGIN DELETE FROM bodies WHERE seq = OLD.seq; END",
        "CREATE INDEX requests ON commands (digest) WHERE rpc = 1",
        "CREATE INDEX unfinished ON commands (seq) WHERE state < 2",
        "CREATE INDEX unsaid ON commands (seq) WHERE state > 0 AND said IS NOT state",
        """CREATE TRIGGER an_end_is_final BEFORE UPDATE OF state ON commands
            WHEN OLD.state >= 2 AND NEW.state <> OLD.state
            BEGIN SELECT RAISE(ABORT, 'a command that has ended stays so'); END""",
        "CREATE TABLE remembered (hash BLOB PRIMARY KEY, state INTEGER NOT NULL, until_s REAL NOT NULL) WITHOUT ROWID",
        "CREATE TABLE facts (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID",
    ):
        connection.execute(statement)


MIGRATIONS: Final[tuple[Migration, ...]] = (m001_commands,)
"""In the order in which they are applied. Add at the end; never change one that was released."""


def connect(path: Path, limit_bytes: int) -> sqlite3.Connection:
    """In autocommit mode, for one thread at a time; made where it is missing, for its owner only. The file grows to
    `limit_bytes` at most.

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
            connection.execute(f"PRAGMA max_page_count = {max(16, limit_bytes // PAGE_BYTES)}")
            if (found := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise DamagedError(f"The command journal {path} is damaged ({found}).")
        except BaseException:
            connection.close()
            raise
    return connection


def used_bytes(connection: sqlite3.Connection) -> int:
    """Of the file, without what is free in it."""
    pages, free = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count"))
    return int(pages - free) * PAGE_BYTES


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
        raise StoreError(f"The command journal {path}: {error.strerror or error}.") from error


def set_aside(path: Path) -> Path:
    """Moves a damaged file and its log out of the way, as the newest of a few. Raises `StoreError`."""
    with translated(path):
        for number in range(DAMAGED_KEPT - 1, 0, -1):
            older = path.with_name(f"{path.name}.damaged-{number}")
            if older.exists():
                older.replace(path.with_name(f"{path.name}.damaged-{number + 1}"))
        aside = path.with_name(f"{path.name}.damaged-1")
        path.replace(aside)
        for end in ("-wal", "-shm"):
            path.with_name(path.name + end).unlink(missing_ok=True)
    return aside


def _configure(connection: sqlite3.Connection, path: Path) -> None:
    made = connection.execute("PRAGMA schema_version").fetchone()[0]
    if made and connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise DamagedError(f"{path} is a database, but not a command journal.")
    if not made:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("PRAGMA journal_mode = WAL")
    for pragma in (
        "mmap_size = 0",
        f"cache_size = -{_CACHE_KIB}",
        f"wal_autocheckpoint = {_CHECKPOINT_PAGES}",
        f"journal_size_limit = {_LOG_LIMIT_BYTES}",
        "cell_size_check = ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    done = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if done > len(MIGRATIONS):
        raise StoreError(
            f"The command journal {path} was written by a newer version of edge-agent.",
            hint="Update edge-agent, or remove the file.",
        )
    for number, migration in enumerate(MIGRATIONS[done:], done + 1):
        with transaction(connection, durable=True):
            migration(connection)
            connection.execute(f"PRAGMA user_version = {number}")


def _translate(error: sqlite3.Error, path: Path) -> EdgeAgentError:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT):
        return DamagedError(f"The command journal {path} is damaged ({error}).")
    if code == sqlite3.SQLITE_ERROR and "no such" in str(error):
        return DamagedError(f"The command journal {path} lacks a part ({error}).")
    if code == sqlite3.SQLITE_FULL:
        return DiskFullError("The device's disk is full, so no command can be written down.", hint="Free some space.")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL):
        return UnavailableError(f"Another process is using the command journal {path}.")
    return StoreError(
        f"The command journal {path} cannot be read or written ({error}).",
        hint="Check the disk, and who may write there.",
    )
