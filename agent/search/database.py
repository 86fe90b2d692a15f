"""Connections to a collection's database, and SQLite's errors in the project's words.

Journal: write-ahead log, `synchronous=NORMAL`. A kill at any moment loses nothing that was committed; a power cut may
lose the last commits, never the consistency, and what was lost is embedded again. The file is not memory-mapped: a read
error on a worn card would end the process with SIGBUS instead of an error. Pages of 32 KiB waste 1% on vectors
of 384 floats where pages of 4 KiB waste 25%, and take a third less time to scan.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from agent.errors import DiskFullError, EdgeAgentError, NotFoundError, StoreError, UnavailableError

PAGE_BYTES: Final = 32_768
CACHE_KIB: Final = 8_192
CHECKPOINT_PAGES: Final = 256
LOG_LIMIT_BYTES: Final = 16 * 1024 * 1024
BUSY_S: Final = 5.0
APPLICATION_ID: Final = 0x45414753  # "EAGS"


class LockedError(UnavailableError):
    """Another process writes to the collection."""

    code = "collection_locked"


def connect(path: Path, *, create: bool = False, busy_s: float = BUSY_S) -> sqlite3.Connection:
    """A connection in autocommit mode, for one thread at a time.

    Raises `NotFoundError` where there is no file, `StoreError` where it is no collection or cannot be opened.
    """
    if not create and not path.exists():
        raise NotFoundError(f"There is no collection database {path}.")
    with translated(path):
        uri = f"file:{quote(str(path.absolute()))}?mode={'rwc' if create else 'rw'}"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=busy_s, check_same_thread=False)
        try:
            _configure(connection, path, create=create)
        except BaseException:
            connection.close()
            raise
    return connection


def _configure(connection: sqlite3.Connection, path: Path, *, create: bool) -> None:
    if create:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA journal_mode = WAL")
    elif connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise StoreError(f"{path} is a database, but not one of a collection.")
    for pragma in (
        "synchronous = NORMAL",
        "mmap_size = 0",
        f"cache_size = -{CACHE_KIB}",
        f"wal_autocheckpoint = {CHECKPOINT_PAGES}",
        f"journal_size_limit = {LOG_LIMIT_BYTES}",
        "cell_size_check = ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of it or nothing. Takes the write lock at the start, so that it never fails half way for being locked."""
    connection.execute("BEGIN IMMEDIATE")
    with _ended(connection):
        yield


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """Everything read inside is of one moment, whatever another connection commits."""
    connection.execute("BEGIN DEFERRED")
    with _ended(connection):
        yield


@contextmanager
def _ended(connection: sqlite3.Connection) -> Iterator[None]:
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
        raise translate(error, path) from error
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}.") from error


def translate(error: sqlite3.Error, path: Path) -> EdgeAgentError:
    """The project's error for one of SQLite's."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    name = path.name
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT):
        return StoreError(
            f"The collection database {path} is damaged ({error}).",
            hint="Remove the collection and create it again from its source, or restore the file from a backup.",
        )
    if code == sqlite3.SQLITE_FULL:
        return DiskFullError(
            f"The disk is full; nothing of the last step was kept in {path}.",
            hint="Free some space and run the same command again: it goes on where it stopped.",
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL):
        return LockedError(f"Another process is writing to {name}.", hint="Try again when it has finished.")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_AUTH):
        return StoreError(
            f"{path} cannot be opened for writing ({error}).",
            hint="The file and its folder must be writable: the write-ahead log lies beside the database.",
        )
    if code == sqlite3.SQLITE_IOERR:
        return StoreError(f"Reading or writing {path} failed ({error}).", hint="Check the disk (dmesg).")
    if code == sqlite3.SQLITE_INTERRUPT:
        return UnavailableError(f"The query on {name} was interrupted.")
    if code == sqlite3.SQLITE_TOOBIG:
        return StoreError(f"A value is too long for {name} ({error}).")
    if "no such module: fts5" in str(error):
        return StoreError(
            f"This Python's SQLite {sqlite3.sqlite_version} was built without FTS5.",
            hint="Use a Python whose SQLite has it, such as your distribution's or python.org's.",
        )
    return StoreError(f"The database {path} refused a statement ({error}).")
