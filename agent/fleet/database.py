"""A database file of the fleet side: opening it, its migrations, SQLite's errors in the project's words.

Write-ahead log. What is committed with `synchronous=FULL` outlives a power cut. With NORMAL a kill at any moment loses
nothing, and a power cut may lose what the system had not written to the card yet, never the consistency. Not
memory-mapped: a read error of a worn card would end the process with SIGBUS.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from agent.errors import DiskFullError, EdgeAgentError, StoreError, UnavailableError

PAGE_BYTES: Final = 4096
BUSY_S: Final = 2.0
_CACHE_KIB: Final = 1024
_LOG_LIMIT_BYTES: Final = 1024 * 1024

Migration = Callable[[sqlite3.Connection], None]


class DamagedError(StoreError):
    """The file is no database, or a broken one: it can only be set aside."""

    code = "database_damaged"


@dataclass(frozen=True, kw_only=True)
class DatabaseFile:
    """What such files have in common. `title` stands in messages, like "command journal". `migrations` are applied in
    order: add at the end, and never change one that was released. The log is copied into the file after
    `checkpoint_pages`; 0 leaves that to the owner."""

    title: str
    application_id: int
    migrations: tuple[Migration, ...]
    checkpoint_pages: int = 256

    def connect(self, path: Path) -> sqlite3.Connection:
        """In autocommit mode, for one thread at a time; made where it is missing, for its owner only.

        Raises `DamagedError`, `DiskFullError`, `StoreError`, `UnavailableError` (another process has it).
        """
        with self.translated(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            uri = f"file:{quote(str(path.absolute()))}?mode=rw"
            connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_S, check_same_thread=False)
            try:
                self._configure(connection, path)
                self._migrate(connection, path)
            except BaseException:
                connection.close()
                raise
        return connection

    @contextmanager
    def translated(self, path: Path) -> Iterator[None]:
        """SQLite's errors become ours, naming the file."""
        try:
            yield
        except sqlite3.Error as error:
            raise self._translate(error, path) from error
        except UnicodeDecodeError as error:  # a name out of the damage, also in SQLite's own message about it
            raise DamagedError(f"The {self.title} {path} is damaged ({error.reason}).") from error
        except OSError as error:
            raise StoreError(f"The {self.title} {path}: {error.strerror or error}.") from error

    def set_aside(self, path: Path, *, kept: int = 1) -> Path:
        """Moves a damaged file, and its log, out of the way, as the newest of `kept`. Raises `StoreError`."""
        with self.translated(path):
            for number in range(kept - 1, 0, -1):
                older = path.with_name(f"{path.name}.damaged-{number}")
                if older.exists():
                    older.replace(path.with_name(f"{path.name}.damaged-{number + 1}"))
            aside = path.with_name(f"{path.name}.damaged-1")
            path.replace(aside)
            for end in ("-wal", "-shm"):
                path.with_name(path.name + end).unlink(missing_ok=True)
        return aside

    def _configure(self, connection: sqlite3.Connection, path: Path) -> None:
        made = connection.execute("PRAGMA schema_version").fetchone()[0]
        if made and connection.execute("PRAGMA application_id").fetchone()[0] != self.application_id:
            raise DamagedError(f"{path} is a database, but not a {self.title}.")
        if not made:
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            connection.execute(f"PRAGMA application_id = {self.application_id}")
        connection.execute("PRAGMA journal_mode = WAL")
        for pragma in (
            "synchronous = NORMAL",
            "mmap_size = 0",
            f"cache_size = -{_CACHE_KIB}",
            f"wal_autocheckpoint = {self.checkpoint_pages}",
            f"journal_size_limit = {_LOG_LIMIT_BYTES}",
            "cell_size_check = ON",
        ):
            connection.execute(f"PRAGMA {pragma}")

    def _migrate(self, connection: sqlite3.Connection, path: Path) -> None:
        done = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if done > len(self.migrations):
            raise StoreError(
                f"The {self.title} {path} was written by a newer version of edge-agent.",
                hint="Update edge-agent, or remove the file.",
            )
        for number, migration in enumerate(self.migrations[done:], done + 1):
            with transaction(connection, durable=True):
                migration(connection)
                connection.execute(f"PRAGMA user_version = {number}")

    def _translate(self, error: sqlite3.Error, path: Path) -> EdgeAgentError:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT):
            return DamagedError(f"The {self.title} {path} is damaged ({error}).")
        if code == sqlite3.SQLITE_ERROR and "no such" in str(error):
            return DamagedError(f"The {self.title} {path} lacks a part ({error}).")
        if code == sqlite3.SQLITE_FULL:
            return DiskFullError(
                f"The device's disk is full: nothing can be added to the {self.title}.", hint="Free some space."
            )
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL):
            return UnavailableError(f"Another process is using the {self.title} {path}.")
        return StoreError(
            f"The {self.title} {path} cannot be read or written ({error}).",
            hint="Check the disk, and who may write there.",
        )


@contextmanager
def transaction(connection: sqlite3.Connection, *, durable: bool) -> Iterator[None]:
    """All of it or nothing. `durable`: on the disk when this ends, which takes 15 times as long and wears more."""
    connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite itself rolls back when the disk is full
            connection.execute("ROLLBACK")
        raise


def used_bytes(connection: sqlite3.Connection) -> int:
    """Of the file, without what is free in it."""
    pages, free = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count"))
    return int(pages - free) * PAGE_BYTES
