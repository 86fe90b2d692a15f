"""The updates under way, in memory and in the journal: what is in memory is on the disk."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, TypeVar

from agent.updates.journal import Journal
from agent.updates.record import Record, Rejected
from agent.updates.states import Move

NOTE_S: Final = 5.0
"""Progress is written down this often: so much of the day's count a kill can cost, and so seldom a card is written."""

T = TypeVar("T")


class Register:
    """For the event loop; the journal's waits are on another thread. A caller that is cancelled does not stop what it
    has begun to write. `open` first; everything raises what the journal raises. `changed` is called after each change.
    `wall` gives Unix time, `clock` seconds that never go back.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        changed: Callable[[], None],
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal = journal
        self._changed = changed
        self._wall = wall
        self._clock = clock
        self._lock = asyncio.Lock()
        self._writing: set[asyncio.Future[Any]] = set()
        self.records: dict[int, Record] = {}
        """Those that have not ended, in the order in which they came."""
        self.ended: list[Record] = []
        """The latest first."""
        self.rejected: dict[str, Rejected] = {}
        """By the SHA-256 of the manifest."""
        self._day = ""
        self._spent_bytes = 0
        """On `_day`, what is not written down yet included."""
        self._unwritten_bytes = 0
        self._noted_at: dict[int, float] = {}

    async def open(self) -> None:
        await self._do(self._journal.open)
        self.records = {record.id: record for record in await self._do(self._journal.unfinished)}
        self.ended = await self._do(self._journal.recent)
        self.rejected = {one.digest: one for one in await self._do(self._journal.rejections)}
        self._changed()

    async def close(self) -> None:
        await self._do(self._journal.close)

    async def settle(self) -> None:
        """Returns when what was begun before has ended."""
        async with self._lock:
            pass

    @property
    def loss(self) -> str | None:
        return self._journal.loss

    async def add(self, record: Record) -> Record:
        added: Record = await self._settled(self._add, record)
        return added

    async def move(self, id: int, move: Move, **changes: Any) -> Record:
        """Raises `IllegalMoveError`, also for an update that has ended."""
        after: Record = await self._settled(self._move, id, move, changes)
        return after

    async def change(self, id: int, **changes: Any) -> Record:
        """Without a move; on the disk when this returns."""
        after: Record = await self._settled(self._change, id, changes)
        return after

    def progress(self, id: int, *, fetched_bytes: int = 0, **changes: Any) -> None:
        """Changes in memory, which `note` writes down; `fetched_bytes` more came over the network."""
        record = self.records[id]
        self.records[id] = replace(record, bytes_fetched=record.bytes_fetched + fetched_bytes, **changes)
        self._spent_bytes += fetched_bytes
        self._unwritten_bytes += fetched_bytes
        self._changed()

    async def note(self, id: int, *, force: bool = False) -> None:
        """Writes the progress down, if that was not done a moment ago."""
        now = self._clock()
        if id in self.records and (force or now - self._noted_at.get(id, -NOTE_S) >= NOTE_S):
            self._noted_at[id] = now
            await self._settled(self._note, id)

    @property
    def spent_bytes(self) -> int:
        """What has come over the network today, as far as `learn_day` has looked."""
        return self._spent_bytes

    async def learn_day(self, day: str) -> None:
        """The local date: another one has its own count."""
        if day != self._day:
            await self._settled(self._turn_day, day)

    async def forgive(self, digest: str) -> None:
        await self._do(self._journal.forgive, digest)
        self.rejected.pop(digest, None)

    async def fact(self, name: str) -> Any:
        return await self._do(self._journal.fact, name)

    async def set_fact(self, name: str, value: Any) -> None:
        await self._do(self._journal.set_fact, name, value)

    async def moves(self, id: int) -> list[dict[str, Any]]:
        found = await self._do(self._journal.moves, id)
        return [{"at": at, "move": move, "state": state, "reason": reason} for at, move, state, reason in found]

    async def _add(self, record: Record) -> Record:
        added = await asyncio.to_thread(self._journal.add, record)
        self.records[added.id] = added
        self._changed()
        return added

    async def _move(self, id: int, move: Move, changes: dict[str, Any]) -> Record:
        record = self.records.get(id) or next(one for one in self.ended if one.id == id)
        after = await asyncio.to_thread(lambda: self._journal.move(record, move, **changes))
        if after.state.final:
            self.records.pop(id, None)
            self._noted_at.pop(id, None)
            self.ended.insert(0, after)
        else:
            self.records[id] = after
        self.rejected = {one.digest: one for one in await asyncio.to_thread(self._journal.rejections)}
        self._changed()
        return after

    async def _change(self, id: int, changes: dict[str, Any]) -> Record:
        after = replace(self.records[id], **changes)
        await asyncio.to_thread(lambda: self._journal.note(after, durable=True))
        self.records[id] = after
        self._changed()
        return after

    async def _note(self, id: int) -> None:
        if (record := self.records.get(id)) is None:
            return
        spent_bytes, self._unwritten_bytes = self._unwritten_bytes, 0
        try:
            await asyncio.to_thread(lambda: self._journal.note(record, day=self._day, spent_bytes=spent_bytes))
        except BaseException:
            self._unwritten_bytes += spent_bytes
            raise

    async def _turn_day(self, day: str) -> None:
        for id in list(self.records)[:1]:
            await self._note(id)  # what is not written down yet belongs to the day before
        self._spent_bytes = await asyncio.to_thread(self._journal.spent_bytes, day) + self._unwritten_bytes
        self._day = day

    async def _do(self, work: Callable[..., T], *args: Any) -> T:
        async def run() -> T:
            return await asyncio.to_thread(work, *args)

        done: T = await self._settled(run)
        return done

    async def _settled(self, work: Callable[..., Any], *args: Any) -> Any:
        """`work`, alone, and to its end."""

        async def alone() -> Any:
            async with self._lock:
                return await work(*args)

        task = asyncio.ensure_future(alone())
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(task)
