"""What local files hold: a database of their chunks, so that none is cut twice.

A file is known by device, inode, size and time of change: a version that is renamed into the store stays known. The
database is a cache: what it says is checked by SHA-256 when a chunk is taken, and a broken one is thrown away.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final

from agent.updates.fetch.transport import Wanted

_VERSION: Final = 1
_BATCH: Final = 2048
_MIN_FILE_BYTES: Final = 16 * 1024
"""Smaller ones are a chunk at most, and travel faster than they are found."""
_SCHEMA: Final = """
CREATE TABLE files (id INTEGER PRIMARY KEY, identity TEXT NOT NULL UNIQUE, path TEXT NOT NULL);
CREATE TABLE chunks (key INTEGER, file INTEGER, offset INTEGER, PRIMARY KEY (key, file, offset)) WITHOUT ROWID;
CREATE INDEX of_file ON chunks (file);
"""

Cut = Callable[[Path], Iterable[tuple[int, bytes]]]
"""(offset, SHA-256) of each chunk of a file."""


class HeldChunks:
    """The database at `path`. Raises `OSError` for what the disk does not do."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reading: dict[str, int] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._database = self._open()
        except sqlite3.DatabaseError:
            for name in (path.name, f"{path.name}-journal", f"{path.name}-wal", f"{path.name}-shm"):
                (path.parent / name).unlink(missing_ok=True)
            try:
                self._database = self._open()
            except sqlite3.Error as error:
                raise OSError(0, str(error)) from error

    def __enter__(self) -> HeldChunks:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for descriptor in self._reading.values():
            os.close(descriptor)
        self._database.close()

    def look(self, folder: Path, cut: Cut, on_file: Callable[[Path], object] = lambda path: None) -> None:
        """Takes in all files below `folder`; cuts those that it does not know, and forgets those that are gone."""
        with self._guarded():
            known = {identity: (id, path) for id, identity, path in self._database.execute("SELECT * FROM files")}
            for path in _files(folder):
                with contextlib.suppress(OSError):  # deleted meanwhile, or not readable: then it holds nothing for us
                    found = known.pop(identity := _identity(path.stat()), None)
                    if found is None:
                        on_file(path)
                        self._add(path, identity, cut(path))
                    elif found[1] != str(path):
                        self._database.execute("UPDATE files SET path = ? WHERE id = ?", (str(path), found[0]))
            for id, _ in known.values():
                self._forget(id)
            self._database.commit()

    def add(self, path: Path, chunks: Iterable[tuple[int, bytes]]) -> None:
        """A file whose chunks are known, as it came by them."""
        with self._guarded():
            self._add(path, _identity(path.stat()), chunks)
            self._database.commit()

    def holds(self, chunk: Wanted) -> bool:
        with self._guarded():
            row = self._database.execute("SELECT 1 FROM chunks WHERE key = ? LIMIT 1", (_key(chunk.sha256),))
            return row.fetchone() is not None

    def take(self, chunk: Wanted) -> bytes | None:
        """Its bytes, read from a local file and checked; None if no file has them any more."""
        with self._guarded():
            rows = self._database.execute(
                "SELECT path, offset FROM chunks JOIN files ON files.id = file WHERE key = ? LIMIT 4",
                (_key(chunk.sha256),),
            ).fetchall()
        for path, offset in rows:
            with contextlib.suppress(OSError):
                data = os.pread(self._descriptor(path), chunk.length, offset)
                if hashlib.sha256(data).digest() == chunk.sha256:
                    return data
        return None

    def _descriptor(self, path: str) -> int:
        if path not in self._reading:
            while len(self._reading) >= 16:
                os.close(self._reading.pop(next(iter(self._reading))))
            self._reading[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        return self._reading[path]

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._path, isolation_level="DEFERRED")
        try:
            database.execute("PRAGMA synchronous = OFF")  # what a power cut breaks is made again
            database.execute("PRAGMA cache_size = -2048")
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version != _VERSION:
                for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                    database.execute(f"DROP TABLE {name}")
                database.executescript(f"{_SCHEMA} PRAGMA user_version = {_VERSION};")
            return database
        except BaseException:
            database.close()
            raise

    def _add(self, path: Path, identity: str, chunks: Iterable[tuple[int, bytes]]) -> None:
        for (id,) in self._database.execute("SELECT id FROM files WHERE identity = ?", (identity,)).fetchall():
            self._forget(id)
        inserted = self._database.execute("INSERT INTO files (identity, path) VALUES (?, ?)", (identity, str(path)))
        id = inserted.lastrowid
        rows: list[tuple[int, int | None, int]] = []
        try:
            for offset, digest in chunks:
                rows.append((_key(digest), id, offset))
                if len(rows) >= _BATCH:
                    self._insert(rows)
            self._insert(rows)
        except OSError:
            self._database.rollback()
            raise
        self._database.commit()

    def _insert(self, rows: list[tuple[int, int | None, int]]) -> None:
        self._database.executemany("INSERT OR IGNORE INTO chunks VALUES (?, ?, ?)", rows)
        rows.clear()

    def _forget(self, id: int) -> None:
        self._database.execute("DELETE FROM chunks WHERE file = ?", (id,))
        self._database.execute("DELETE FROM files WHERE id = ?", (id,))

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            with contextlib.suppress(OSError):
                self._path.unlink()
            raise OSError(0, f"{self._path.name}: {error}") from error


def _key(digest: bytes) -> int:
    """The first 8 bytes, as SQLite's signed integer: a chance meeting costs one look at the file."""
    return int.from_bytes(digest[:8], "little", signed=True)


def _identity(status: os.stat_result) -> str:
    return f"{status.st_dev}-{status.st_ino}-{status.st_size}-{status.st_mtime_ns}"


def _files(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(root, name)
            if not path.is_symlink() and path.is_file() and path.stat().st_size >= _MIN_FILE_BYTES:
                yield path
