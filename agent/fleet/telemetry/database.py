"""The outbox's database file: opening, its schema, SQLite's errors in the project's words.

Write-ahead log, `synchronous=NORMAL`: a kill at any moment loses nothing that was committed; a power cut may lose what
the system had not written to the card yet, never the consistency. Checkpoints are the store's own, so that it knows
how much is written. Not memory-mapped: a read error of a worn card would end the process with SIGBUS.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from agent.errors import DiskFullError, EdgeAgentError, StoreError, UnavailableError

PAGE_BYTES: Final = 4096
APPLICATION_ID: Final = 0x45414F42  # "EAOB"
BUSY_S: Final = 1.0
_CACHE_KIB: Final = 1024
_LOG_LIMIT_BYTES: Final = 1024 * 1024

Migration = Callable[[sqlite3.Connection], None]


class DamagedError(StoreError):
    """The file is no database, or a broken one: it can only be put aside."""


def m001_types_and_blocks(connection: sqlite3.Connection) -> None:
    """`log` names this numbering. Of a type, numbers up to `reserved` may have been used, up to `confirmed` they are
    done with. A block's key begins with its type, so that those that go together lie on the same pages."""
    for statement in (
        "CREATE TABLE log (id INTEGER PRIMARY KEY CHECK (id = 1), name TEXT NOT NULL, writes INTEGER NOT NULL)",
        "CREATE TABLE boots (id INTEGER PRIMARY KEY, boot TEXT NOT NULL UNIQUE, offset_s REAL NOT NULL)",
        """CREATE TABLE types (
            id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, name TEXT NOT NULL UNIQUE,
            reserved INTEGER NOT NULL, confirmed INTEGER NOT NULL, dropped INTEGER NOT NULL, expired INTEGER NOT NULL
        )""",
        """CREATE TABLE blocks (
            type INTEGER NOT NULL, last INTEGER NOT NULL, first INTEGER NOT NULL, age INTEGER NOT NULL,
            boot INTEGER NOT NULL, time_s REAL NOT NULL, up_s REAL NOT NULL, body BLOB NOT NULL,
            PRIMARY KEY (type, last)
        ) WITHOUT ROWID""",
        "CREATE TABLE raised (name TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID",
    ):
        connection.execute(statement)
    connection.execute("INSERT INTO log VALUES (1, ?, 0)", (secrets.token_hex(4),))


MIGRATIONS: Final[tuple[Migration, ...]] = (m001_types_and_blocks,)
"""In the order in which they are applied. Add at the end; never change one that was released."""


def connect(path: Path) -> sqlite3.Connection:
    """In autocommit mode, for one thread at a time; made where it is missing.

    Raises `DamagedError`, `DiskFullError`, `StoreError`, `UnavailableError` (another process writes).
    """
    with translated(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        uri = f"file:{quote(str(path.absolute()))}?mode=rwc"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_S, check_same_thread=False)
        try:
            _configure(connection, path)
            _migrate(connection, path)
        except BaseException:
            connection.close()
            raise
        with contextlib.suppress(OSError):
            path.chmod(0o600)
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of it or nothing."""
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
    except UnicodeDecodeError as error:  # a name out of the damage, also in SQLite's own message about it
        raise DamagedError(f"The outbox {path} is damaged ({error.reason}).") from error
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}.") from error


def put_aside(path: Path) -> Path:
    """Moves a damaged file, and its log, out of the way; one that was there before is replaced. Raises `OSError`."""
    aside = path.with_name(f"{path.name}.damaged")
    path.replace(aside)
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    return aside


def _configure(connection: sqlite3.Connection, path: Path) -> None:
    made = connection.execute("PRAGMA schema_version").fetchone()[0]
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    if made and application != APPLICATION_ID:
        raise DamagedError(f"{path} is a database, but not one of an outbox.")
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    connection.execute("PRAGMA journal_mode = WAL")
    if not made:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    for pragma in (
        "synchronous = NORMAL",
        "mmap_size = 0",
        f"cache_size = -{_CACHE_KIB}",
        "wal_autocheckpoint = 0",
        f"journal_size_limit = {_LOG_LIMIT_BYTES}",
        "cell_size_check = ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    done = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if done > len(MIGRATIONS):
        raise StoreError(
            f"{path} was written by a newer version of edge-agent.", hint="Update edge-agent, or remove the file."
        )
    for number, migration in enumerate(MIGRATIONS[done:], done + 1):
        with transaction(connection):
            migration(connection)
            connection.execute(f"PRAGMA user_version = {number}")


def _translate(error: sqlite3.Error, path: Path) -> EdgeAgentError:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT):
        return DamagedError(f"The outbox {path} is damaged ({error}).")
    if code == sqlite3.SQLITE_ERROR and "no such" in str(error):
        return DamagedError(f"The outbox {path} lacks a part ({error}).")
    if code == sqlite3.SQLITE_FULL:
        return DiskFullError(f"The disk of {path} is full.", hint="Free some space.")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL):
        return UnavailableError(f"Another process is writing to {path}.")
    return StoreError(f"Reading or writing {path} failed ({error}).", hint="Check the disk, and who may write there.")
