"""Connections to a collection's database, and SQLite's errors in the project's words.

Journal: write-ahead log, `synchronous=NORMAL`. A kill at any moment loses nothing that was committed; a power cut may
lose the last commits, never the consistency, and what was lost is embedded again. The file is not memory-mapped: a read
error on a worn card would end the process with SIGBUS instead of an error. Pages of 32 KiB waste 1% on vectors
of 384 floats where pages of 4 KiB waste 25%, and take a third less time to scan.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from agent.errors import DiskFullError, EdgeAgentError, NotFoundError, StoreError, UnavailableError
from agent.sqlite import DAMAGE, LOCKED, DatabaseFile, primary_code

BUSY_S: Final = 5.0


class LockedError(UnavailableError):
    """Another process writes to the collection."""

    code = "collection_locked"


class CollectionFile(DatabaseFile):
    """Its migrations are `migrations.py`'s. It is never set aside: a person decides about it."""

    def translate(self, error: sqlite3.Error, path: Path) -> EdgeAgentError:
        code = primary_code(error)
        name = path.name
        if code in DAMAGE:
            return StoreError(
                f"The collection database {path} is damaged ({error}).",
                hint="Remove the collection and create it again from its source, or restore the file from a backup.",
            )
        if code == sqlite3.SQLITE_FULL:
            return DiskFullError(
                f"The disk is full; nothing of the last step was kept in {path}.",
                hint="Free some space and run the same command again: it goes on where it stopped.",
            )
        if code in LOCKED:
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

    def foreign(self, path: Path) -> StoreError:
        return StoreError(f"{path} is a database, but not one of a collection.")


COLLECTION: Final = CollectionFile(
    title="collection database",
    application_id=0x45414753,  # "EAGS"
    page_bytes=32_768,
    cache_kib=8_192,
    log_limit_bytes=16 * 1024 * 1024,
)


def connect(path: Path, *, create: bool = False) -> sqlite3.Connection:
    """A connection in autocommit mode, for one thread at a time.

    Raises `NotFoundError` where there is no file, `StoreError` where it is no collection or cannot be opened.
    """
    if create:
        with COLLECTION.translated(path):
            path.touch()
    elif not path.exists():
        raise NotFoundError(f"There is no collection database {path}.")
    return COLLECTION.open(path, begin=create, busy_s=BUSY_S)
