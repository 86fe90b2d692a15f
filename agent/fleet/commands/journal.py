"""The journal: every command that came, before the broker may forget it, and how it ended.

Time here is the journal's own: the seconds that it has been open, all starts together. It never jumps.
`agent.fleet.commands.keeping` says what is kept for how long.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

from agent.errors import DiskFullError, StoreError
from agent.fleet.commands import rows
from agent.fleet.commands.arrival import Known
from agent.fleet.commands.database import DAMAGED_KEPT, JOURNAL, connect
from agent.fleet.commands.entry import Entry, Key
from agent.fleet.commands.keeping import HOUR_S, Keeping, keep_on, prune
from agent.fleet.commands.states import State
from agent.sqlite import DamagedError, transaction, used_bytes

_RUNNING: Final = "ran_s"
_LOSS: Final = "loss"

T = TypeVar("T")
_log = logging.getLogger("agent.fleet.commands")


class Journal:
    """For one thread at a time. `open` first; everything raises `DiskFullError`, `StoreError`, `UnavailableError`.

    A damaged file is set aside, and a new one begun with what is in memory of the commands under way: `loss` says so.
    """

    def __init__(
        self, path: Path, *, keeping: Keeping | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.path = path
        self.keeping = keeping or Keeping()
        self._clock = clock
        self._connection: sqlite3.Connection | None = None
        self._ran_s = 0.0
        self._opened_at = 0.0
        self._count = 0
        self.losses = 0
        """Damaged files that were set aside since the start."""
        self._unfinished: dict[int, Entry] = {}
        """As in the file; what a new one begins with."""

    def open(self) -> None:
        """Idempotent."""
        if self._connection is not None:
            return
        try:
            self._open()
        except DamagedError as error:
            self._replace(error)

    def close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()

    @property
    def now_s(self) -> float:
        """The journal's own time."""
        return self._ran_s + self._clock() - self._opened_at

    def loss(self) -> str | None:
        """What was lost with a damaged file, until `loss_said`."""
        found = self._do(lambda connection: _fact(connection, _LOSS))
        return None if found is None else str(found)

    def loss_said(self) -> None:
        def forget(connection: sqlite3.Connection) -> None:
            with transaction(connection, durable=False):
                connection.execute("DELETE FROM facts WHERE name = ?", (_LOSS,))

        self._do(forget)

    def find(self, keys: Iterable[Key]) -> dict[Key, Known]:
        """What is known of commands (not of requests)."""

        def look(connection: sqlite3.Connection) -> dict[Key, Known]:
            found = {}
            for key in keys:
                row = connection.execute(
                    "SELECT state, seq, digest FROM commands WHERE operation = ? AND id = ? AND rpc = ?", key
                ).fetchone() or rows.remembered(connection, rows.key_hash(key))
                if row is not None:
                    found[key] = Known(State(row[0]), *row[1:])
            if again := [key for key, known in found.items() if known.seq is None]:
                with transaction(connection, durable=False):
                    keep_on(connection, self.keeping, again, self.now_s)
            return found

        return self._do(look)

    def find_request(self, operation: str, digest: bytes, packet_id: int) -> Known | None:
        """A request that the broker delivers again: the same message under the same number."""

        def look(connection: sqlite3.Connection) -> Known | None:
            row = connection.execute(
                "SELECT state, seq, digest FROM commands"
                " WHERE rpc = 1 AND digest = ? AND operation = ? AND packet_id = ?",
                (digest, operation, packet_id),
            ).fetchone() or rows.remembered(connection, rows.request_hash(operation, digest, packet_id))
            return Known(State(row[0]), *row[1:]) if row is not None else None

        return self._do(look)

    def add(self, entries: Sequence[Entry], cleared: Sequence[int] = ()) -> list[Entry]:
        """New commands, and the numbers of those whose topic was cleared: on the disk when this returns. The entries
        with their numbers."""

        def write(connection: sqlite3.Connection) -> list[Entry]:
            if entries and self._count + len(entries) > self.keeping.remembered:
                raise DiskFullError(
                    f"The command journal is full: it still has to remember {self._count:,} commands.",
                    hint="Send fewer commands, or send those that need no id as requests (rpc).",
                )
            if entries and used_bytes(connection) > self.keeping.taken_bytes:
                raise DiskFullError("The command journal is full.", hint="Send the command again later.")
            with transaction(connection, durable=True):
                added = [replace(entry, seq=rows.insert(connection, entry, self.now_s)) for entry in entries]
                connection.executemany("UPDATE commands SET cleared = 1 WHERE seq = ?", [(seq,) for seq in cleared])
                self._keep_time(connection)
            return added

        added = self._do(write)
        self._count += len(added)
        self._unfinished |= {entry.seq: entry for entry in added if not entry.state.final}
        for seq in cleared:
            if seq in self._unfinished:
                self._unfinished[seq] = replace(self._unfinished[seq], cleared=True)
        return added

    def begin(self, seq: int, instance: str, *, durable: bool) -> Entry:
        """A queued command begins, once more. Not `durable`: after a power cut it may be queued again."""
        entry = self._unfinished[seq]
        entry = replace(entry, state=State.EXECUTING, attempts=entry.attempts + 1, instance=instance)
        self._update(entry, durable=durable)
        return entry

    def queue_again(self, seqs: Iterable[int], *, forgiven: bool) -> None:
        """Commands that were interrupted. `forgiven`: by nothing that they could have caused, so it does not count."""
        for seq in seqs:
            entry = self._unfinished.get(seq)
            if entry is None or entry.state is not State.EXECUTING:
                continue  # it has just ended
            self._update(replace(entry, state=State.QUEUED, attempts=entry.attempts - forgiven), durable=False)

    def finish(self, entry: Entry) -> None:
        """Its end: on the disk when this returns. The first one counts."""
        kept = self._unfinished.get(entry.seq)
        if kept is None:
            return  # it was written down already
        self._update(replace(entry, cleared=entry.cleared or kept.cleared), durable=True)

    def said(self, seq: int, state: State, piece_count: int) -> None:
        """The broker has confirmed it."""

        def write(connection: sqlite3.Connection) -> None:
            with transaction(connection, durable=False):
                connection.execute(
                    "UPDATE commands SET said = ?, piece_count = max(piece_count, ?) WHERE seq = ?",
                    (state, piece_count, seq),
                )

        self._do(write)

    def read(self, seq: int) -> Entry | None:
        return next(iter(self._select("WHERE seq = ?", (seq,))), None)

    def unfinished(self) -> list[Entry]:
        """In the order in which they came."""
        return self._select("WHERE state < 2 ORDER BY seq")

    def unsaid(self, after: int, limit: int) -> list[Entry]:
        """What the broker has not confirmed, from the number after `after` on."""
        where = "WHERE state > 0 AND said IS NOT state AND seq > ? AND NOT (rpc AND state = 1) ORDER BY seq LIMIT ?"
        return self._select(where, (after, limit))

    def grants(self, operation: str) -> list[float]:
        """When commands were granted in the last hour, by the journal's own time."""

        def look(connection: sqlite3.Connection) -> list[float]:
            query = "SELECT granted_s FROM commands WHERE operation = ? AND granted_s > ?"
            return [row[0] for row in connection.execute(query, (operation, self.now_s - HOUR_S))]

        return self._do(look)

    def prune(self) -> list[tuple[Key, int]]:
        """Drops what need not be kept. The commands whose results lie with the broker in pieces, and in how many."""

        def write(connection: sqlite3.Connection) -> list[tuple[Key, int]]:
            with transaction(connection, durable=False):
                old = prune(connection, self.keeping, self.now_s)
                self._keep_time(connection)
            self._count = rows.count(connection)
            return [(entry.key, entry.piece_count) for entry in old if entry.piece_count]

        return self._do(write)

    def _open(self) -> None:
        connection = connect(self.path, self.keeping.limit_bytes)
        try:
            with JOURNAL.translated(self.path):
                self._ran_s = float(_fact(connection, _RUNNING) or 0.0)
                self._opened_at = self._clock()
                self._count = rows.count(connection)
                found = rows.select(connection, "WHERE state < 2 ORDER BY seq", ())
                self._unfinished = {entry.seq: entry for entry in found} | self._unfinished
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def _replace(self, error: DamagedError) -> None:
        """Set aside, never emptied in silence."""
        now_s = self.now_s if self._connection is not None else 0.0
        self.close()
        aside = JOURNAL.set_aside(self.path, kept=DAMAGED_KEPT)
        loss = f"{error.message} It was set aside as {aside.name}: what was done before is not known any more."
        _log.error("%s", loss)
        self.losses += 1
        self._open()
        connection = self._connection
        assert connection is not None
        with JOURNAL.translated(self.path), transaction(connection, durable=True):
            self._ran_s += now_s
            for entry in self._unfinished.values():
                rows.insert(connection, entry, self.now_s)
            connection.execute("REPLACE INTO facts VALUES (?, ?)", (_LOSS, loss))
            self._keep_time(connection)
        self._count = rows.count(connection)

    def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Once more after a damaged file was replaced."""
        self.open()
        try:
            with JOURNAL.translated(self.path):
                return work(self._ready())
        except DamagedError as error:
            self._replace(error)
            with JOURNAL.translated(self.path):
                return work(self._ready())

    def _ready(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreError(f"The command journal {self.path} is not open.")
        return self._connection

    def _select(self, where: str, values: Sequence[Any] = ()) -> list[Entry]:
        return self._do(lambda connection: rows.select(connection, where, values))

    def _update(self, entry: Entry, *, durable: bool) -> None:
        def write(connection: sqlite3.Connection) -> None:
            with transaction(connection, durable=durable):
                rows.update(connection, entry, self.now_s)
                self._keep_time(connection)

        self._do(write)
        if entry.state.final:
            self._unfinished.pop(entry.seq, None)
        else:
            self._unfinished[entry.seq] = entry

    def _keep_time(self, connection: sqlite3.Connection) -> None:
        connection.execute("REPLACE INTO facts VALUES (?, ?)", (_RUNNING, self.now_s))


def _fact(connection: sqlite3.Connection, name: str) -> Any:
    row = connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
    return row[0] if row else None
