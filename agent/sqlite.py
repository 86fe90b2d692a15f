"""A database file: opening it, its migrations, transactions, SQLite's errors in the project's words.

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
DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT})
LOCKED: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})

Migration = Callable[[sqlite3.Connection], None]


class DamagedError(StoreError):
    """The file is no database, or a broken one: it can only be set aside."""

    code = "database_damaged"


@dataclass(frozen=True, kw_only=True)
class DatabaseFile:
    """What the files of one kind have in common. `title` stands in messages, like "command journal". `migrations` are
    applied in order: add at the end, and never change one that was released. `checked`: damage is looked for in the
    whole file when it is opened. The log is copied into the file after `checkpoint_pages`; 0 leaves that to the owner.
    """

    title: str
    application_id: int
    migrations: tuple[Migration, ...] = ()
    checked: bool = False
    page_bytes: int = PAGE_BYTES
    cache_kib: int = 256
    checkpoint_pages: int = 256
    log_limit_bytes: int = 1024 * 1024

    def connect(self, path: Path) -> sqlite3.Connection:
        """In autocommit mode, for one thread at a time; made where it is missing, for its owner only.

        Raises `DamagedError`, `DiskFullError`, `StoreError`, `UnavailableError` (another process has it).
        """
        with self.translated(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        return self.open(path, begin=True, busy_s=BUSY_S)

    def open(self, path: Path, *, begin: bool, busy_s: float) -> sqlite3.Connection:
        """As `connect`, of a file that is there; it may be empty, to `begin` the database in it."""
        with self.translated(path):
            uri = f"file:{quote(str(path.absolute()))}?mode=rw"
            connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=busy_s, check_same_thread=False)
            try:
                self._configure(connection, path, begin=begin)
                self._migrate(connection, path)
                if self.checked and (found := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                    raise DamagedError(f"The {self.title} {path} is damaged ({found}).")
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
            raise self.translate(error, path) from error
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

    def translate(self, error: sqlite3.Error, path: Path) -> EdgeAgentError:
        """The project's error for one of SQLite's."""
        code = primary_code(error)
        if code in DAMAGE:
            return DamagedError(f"The {self.title} {path} is damaged ({error}).")
        if code == sqlite3.SQLITE_ERROR and "no such" in str(error):
            return DamagedError(f"The {self.title} {path} lacks a part ({error}).")
        if code == sqlite3.SQLITE_FULL:
            return DiskFullError(
                f"The device's disk is full: nothing can be added to the {self.title}.", hint="Free some space."
            )
        if code in LOCKED:
            return UnavailableError(f"Another process is using the {self.title} {path}.")
        return StoreError(
            f"The {self.title} {path} cannot be read or written ({error}).",
            hint="Check the disk, and who may write there.",
        )

    def foreign(self, path: Path) -> StoreError:
        """The file is a database of another kind."""
        return DamagedError(f"{path} is a database, but not a {self.title}.")

    def _configure(self, connection: sqlite3.Connection, path: Path, *, begin: bool) -> None:
        begun = connection.execute("PRAGMA schema_version").fetchone()[0] or not begin
        if begun and connection.execute("PRAGMA application_id").fetchone()[0] != self.application_id:
            raise self.foreign(path)
        if not begun:
            connection.execute(f"PRAGMA page_size = {self.page_bytes}")
            connection.execute(f"PRAGMA application_id = {self.application_id}")
        connection.execute("PRAGMA journal_mode = WAL")
        for pragma in (
            "synchronous = NORMAL",
            "mmap_size = 0",
            f"cache_size = -{self.cache_kib}",
            f"wal_autocheckpoint = {self.checkpoint_pages}",
            f"journal_size_limit = {self.log_limit_bytes}",
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


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's result code without its details (sqlite.org/rescode.html)."""
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)) & 0xFF


@contextmanager
def transaction(connection: sqlite3.Connection, *, durable: bool) -> Iterator[None]:
    """All of it or nothing. `durable`: on the disk when this ends, which takes 15 times as long and wears more.

    Takes the write lock at the start, so that it never fails half way for being locked.
    """
    connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
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


def used_bytes(connection: sqlite3.Connection) -> int:
    """Of the file, without what is free in it."""
    pages, free = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count"))
    return int(pages - free) * PAGE_BYTES
