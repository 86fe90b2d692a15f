"""The journal of updates: every move is on the disk before the next thing is done, so any of them may be the last.

What was rejected is remembered in the same commit that ends the candidate's trial or probation.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from agent.sqlite import DamagedError, transaction
from agent.updates.database import JOURNAL
from agent.updates.parts import Health
from agent.updates.policy import Terms
from agent.updates.record import Record, Rejected
from agent.updates.states import Move, State, moved

KEPT_UPDATES: Final = 100
KEPT_REJECTED: Final = 1000
KEPT_DAYS: Final = 40
_COLUMNS: Final = (
    "name",
    "target",
    "origin",
    "rev",
    "terms",
    "state",
    "final",
    "reason",
    "version",
    "digest",
    "adopted",
    "previous",
    "attempts",
    "retry_at",
    "interruptions",
    "bytes_done",
    "bytes_total",
    "bytes_missing",
    "bytes_fetched",
    "bytes_best",
    "figures",
    "served_s",
    "requests_ok",
    "requests_failed",
    "crashes",
    "created_at",
    "changed_at",
)
_SELECT: Final = f"SELECT id, {', '.join(_COLUMNS)} FROM updates"
_REASON_LIMIT: Final = 1000

T = TypeVar("T")
_log = logging.getLogger("agent.updates")


class Journal:
    """For one thread at a time. `open` first; everything raises `DiskFullError`, `StoreError`, `UnavailableError`.

    A damaged file is set aside and a new one begun: what was under way is forgotten, and what the store has active
    serves. `loss` says so. `wall` gives Unix time.
    """

    def __init__(self, path: Path, *, wall: Callable[[], float] = time.time) -> None:
        self.path = path
        self._wall = wall
        self._connection: sqlite3.Connection | None = None
        self.loss: str | None = None

    def open(self) -> None:
        """Idempotent."""
        if self._connection is not None:
            return
        try:
            self._connection = JOURNAL.connect(self.path)
        except DamagedError as error:
            aside = JOURNAL.set_aside(self.path)
            self.loss = f"{error.message} It was set aside as {aside.name}: no update is under way any more."
            _log.error("%s", self.loss)
            self._connection = JOURNAL.connect(self.path)

    def close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()

    def add(self, record: Record) -> Record:
        """A new update; with its number and times."""
        now = self._wall()
        record = replace(record, created_at=now, changed_at=now)

        def write(connection: sqlite3.Connection) -> int:
            with transaction(connection, durable=True):
                marks = ", ".join("?" * len(_COLUMNS))
                query = f"INSERT INTO updates ({', '.join(_COLUMNS)}) VALUES ({marks})"
                id = connection.execute(query, _row(record)).lastrowid
                _prune(connection)
            assert id is not None
            return id

        return replace(record, id=self._do(write))

    def move(self, record: Record, move: Move, **changes: Any) -> Record:
        """The record after `move`, with `changes` to its fields; on the disk when this returns.

        Raises `IllegalMoveError`, and writes nothing then.
        """
        changes.setdefault("reason", "")
        after = replace(
            record,
            **{"attempts": 0, "retry_at": None, "interruptions": 0, **changes},
            state=moved(record.state, move),
            changed_at=self._wall(),
        )

        def write(connection: sqlite3.Connection) -> None:
            with transaction(connection, durable=True):
                _update(connection, after)
                connection.execute(
                    "INSERT INTO moves SELECT ?, coalesce(max(number), 0) + 1, ?, ?, ?, ? FROM moves WHERE id = ?",
                    (after.id, after.changed_at, move, after.state, after.reason[:_REASON_LIMIT], after.id),
                )
                if after.state is State.REJECTING and after.digest is not None:
                    connection.execute(
                        "INSERT OR IGNORE INTO rejected VALUES (?, ?, ?, ?, ?)",
                        (after.digest, after.name, after.version, after.reason[:_REASON_LIMIT], after.changed_at),
                    )

        self._do(write)
        return after

    def note(self, record: Record, *, durable: bool = False, day: str = "", spent_bytes: int = 0) -> None:
        """Fields that changed without a move; `spent_bytes` more came over the network on `day`."""

        def write(connection: sqlite3.Connection) -> None:
            with transaction(connection, durable=durable):
                _update(connection, record)
                if spent_bytes:
                    connection.execute(
                        "INSERT INTO spent VALUES (?, ?)"
                        " ON CONFLICT (day) DO UPDATE SET bytes = bytes + excluded.bytes",
                        (day, spent_bytes),
                    )

        self._do(write)

    def unfinished(self) -> list[Record]:
        """In the order in which they came."""
        return self._select("WHERE final = 0 ORDER BY id")

    def recent(self, limit: int = KEPT_UPDATES) -> list[Record]:
        """Those that have ended, the latest first."""
        return self._select("WHERE final = 1 ORDER BY id DESC LIMIT ?", limit)

    def moves(self, id: int) -> list[tuple[float, Move, State, str]]:
        """How update `id` came to its state: when, by which move, into which state, and why."""

        def look(connection: sqlite3.Connection) -> list[tuple[float, Move, State, str]]:
            query = "SELECT at, move, state, reason FROM moves WHERE id = ? ORDER BY number"
            return [(at, Move(move), State(state), why) for at, move, state, why in connection.execute(query, (id,))]

        return self._do(look)

    def rejections(self) -> list[Rejected]:
        def look(connection: sqlite3.Connection) -> list[Rejected]:
            query = "SELECT digest, name, version, reason, at FROM rejected ORDER BY at"
            return [
                Rejected(digest=digest, name=name, version=version, reason=reason, at=at)
                for digest, name, version, reason, at in connection.execute(query)
            ]

        return self._do(look)

    def forgive(self, digest: str) -> None:
        """It may be tried again."""
        self._write("DELETE FROM rejected WHERE digest = ?", digest)

    def spent_bytes(self, day: str) -> int:
        """What has come over the network on `day`."""

        def look(connection: sqlite3.Connection) -> int:
            row = connection.execute("SELECT bytes FROM spent WHERE day = ?", (day,)).fetchone()
            return int(row[0]) if row else 0

        return self._do(look)

    def fact(self, name: str) -> Any:
        def look(connection: sqlite3.Connection) -> Any:
            row = connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
            return row[0] if row else None

        return self._do(look)

    def set_fact(self, name: str, value: Any) -> None:
        """On the disk when this returns; None removes it."""
        if value is None:
            self._write("DELETE FROM facts WHERE name = ?", name)
        else:
            self._write("REPLACE INTO facts VALUES (?, ?)", name, value)

    def _write(self, query: str, *values: Any) -> None:
        def write(connection: sqlite3.Connection) -> None:
            with transaction(connection, durable=True):
                connection.execute(query, values)

        self._do(write)

    def _select(self, where: str, *values: Any) -> list[Record]:
        return self._do(lambda connection: [_record(row) for row in connection.execute(f"{_SELECT} {where}", values)])

    def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """A file that turns out to be damaged while it is used is an error here; the next start sets it aside."""
        self.open()
        assert self._connection is not None
        with JOURNAL.translated(self.path):
            return work(self._connection)


def _update(connection: sqlite3.Connection, record: Record) -> None:
    assignments = ", ".join(f"{column} = ?" for column in _COLUMNS)
    connection.execute(f"UPDATE updates SET {assignments} WHERE id = ?", (*_row(record), record.id))


def _prune(connection: sqlite3.Connection) -> None:
    connection.execute(
        "DELETE FROM updates WHERE final = 1 AND id NOT IN"
        " (SELECT id FROM updates WHERE final = 1 ORDER BY id DESC LIMIT ?)",
        (KEPT_UPDATES,),
    )
    for table, order, kept in (("rejected", "at", KEPT_REJECTED), ("spent", "day", KEPT_DAYS)):
        key = "digest" if table == "rejected" else "day"
        connection.execute(
            f"DELETE FROM {table} WHERE {key} NOT IN (SELECT {key} FROM {table} ORDER BY {order} DESC LIMIT ?)", (kept,)
        )


def _row(record: Record) -> tuple[Any, ...]:
    return (
        record.name,
        record.target,
        record.origin,
        record.rev,
        msgspec.json.encode(record.terms),
        record.state.value,
        record.state.final,
        record.reason[:_REASON_LIMIT],
        record.version,
        record.digest,
        record.adopted,
        record.previous,
        record.attempts,
        record.retry_at,
        record.interruptions,
        record.bytes_done,
        record.bytes_total,
        record.bytes_missing,
        record.bytes_fetched,
        record.bytes_best,
        msgspec.json.encode(record.figures),
        record.served_s,
        record.health.requests_ok,
        record.health.requests_failed,
        record.health.crashes,
        record.created_at,
        record.changed_at,
    )


def _record(row: tuple[Any, ...]) -> Record:
    said = dict(zip(("id", *_COLUMNS), row, strict=True))
    del said["final"]
    health = Health(**{key: said.pop(key) for key in ("requests_ok", "requests_failed", "crashes")})
    return Record(
        **{
            **said,
            "terms": msgspec.json.decode(said["terms"], type=Terms),
            "state": State(said["state"]),
            "adopted": bool(said["adopted"]),
            "figures": msgspec.json.decode(said["figures"]),
            "health": health,
        }
    )
