"""What is waiting to be sent, in memory first and on the disk before it could be lost for long.

Samples get their number when they are recorded, and may be sent at once: while the link is up, most never touch the
disk. What has not arrived after `flush_s` is written, all types in one transaction; events and alarms are written
before `keep` returns. A kill therefore costs at most the measurements of the last `flush_s`.

So that numbers are never used twice, a range of them is reserved on the disk before the first is sent; after a kill
the numbering goes on behind it, and the gap is told with the next message.

A disk that is full or broken is said in `state`, and the outbox goes on in memory, with a bound, trying the disk again
from time to time.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from agent.errors import EdgeAgentError
from agent.fleet.telemetry.change import Change, TypeChange
from agent.fleet.telemetry.clock import Clock, Stamp
from agent.fleet.telemetry.database import OUTBOX
from agent.fleet.telemetry.line import Line, give_up
from agent.fleet.telemetry.run import Run
from agent.fleet.telemetry.sample import Kind, Values, encode
from agent.fleet.telemetry.state import OutboxLimits, OutboxState
from agent.fleet.telemetry.store import Store
from agent.fleet.telemetry.trouble import Trouble
from agent.fleet.telemetry.wear import Wear
from agent.sqlite import DamagedError

T = TypeVar("T")

FORGET_S: Final = 5.0
"""So long after they were confirmed samples may stay on the disk: they go together, with fewer writes."""
EXPIRE_S: Final = 3600.0
FLUSH_BYTES: Final = 64 * 1024

_log = logging.getLogger("agent.fleet.telemetry")


class Outbox:
    """`open` first, `close` last. Methods that are not coroutines belong to the event loop's thread."""

    def __init__(self, path: Path, *, clock: Clock, limits: OutboxLimits) -> None:
        self._path = path
        self._clock = clock
        self._limits = limits
        self._store: Store | None = None
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="outbox")
        self._lock = asyncio.Lock()
        self._lines: dict[str, Line] = {}
        self._wear = Wear()
        self._trouble = Trouble()
        self._forget_at: float | None = None
        self._expire_at = 0.0
        self._disk_bytes = 0
        self._memory_bytes = 0
        self._raised_changed = False
        self._wake = asyncio.Event()
        self.arrived = asyncio.Event()
        """Set when there is something new to send; whoever sends clears it."""
        self.raised: dict[str, bytes] = {}
        """Alarms that are raised, with what is published of them."""
        self.log = secrets.token_hex(4)
        """Names the numbering; another one begins where the database had to be made anew."""

    async def open(self) -> None:
        """Never fails: without a disk that works it is an outbox in memory."""
        async with self._lock:
            await self._open()

    def declare(self, kind: Kind, type: str) -> None:
        """There will be samples of this type: its numbers are reserved while the disk still takes them."""
        if type not in self._lines:
            self._lines[type] = Line(kind=kind, name=type, reserved=0 if self._store is not None else None)
            self._wake.set()

    def record(self, kind: Kind, type: str, values: Values) -> None:
        """Raises `TooLargeError`. A type's name says nothing of its kind: no two kinds may share one."""
        stamp = self._clock.now()
        body = encode(stamp, values)
        self.declare(kind, type)
        line = self._lines[type]
        line.kind = kind  # an earlier version may have called it otherwise
        first = not line.pending
        line.add(stamp, body)
        self._memory_bytes += len(body)
        excess_bytes = self._memory_bytes - self._limits.memory_bytes
        if excess_bytes > 0:  # only where the disk does not take them
            self._memory_bytes -= give_up(list(self._lines.values()), excess_bytes + self._limits.memory_bytes // 10)
        if first or kind.durable or line.needs_reserve or self._memory_bytes > FLUSH_BYTES:
            self._wake.set()
        self.arrived.set()

    async def keep(self, kind: Kind, type: str, values: Values, *, raised: dict[str, bytes] | None = None) -> None:
        """As `record`; on the disk when this returns, if it can be. `raised` are all alarms that are raised now."""
        self.record(kind, type, values)
        if raised is not None:
            self.raised = raised
            self._raised_changed = True
        await self.maintain()

    def lines(self) -> Iterator[Line]:
        """The types, what matters most first."""
        return iter(sorted(self._lines.values(), key=lambda line: (-line.kind, line.name)))

    def line(self, type: str) -> Line | None:
        return self._lines.get(type)

    async def read(self, type: str, after: int, limit_bytes: int) -> Run | None:
        """Samples after number `after`, of one boot and without a gap between them, as many as fit, at least one.
        None where there are none (any more)."""
        line = self._lines[type]
        if line.last_stored > after:
            run = await self._read_stored(line, after, limit_bytes)
            if run is not None or line.last_stored > after:
                return run
        found = line.since(after, limit_bytes)
        if not found:
            return None
        return Run(found[0].seq, self._clock.boot, self._clock.offset_s, [sample.body for sample in found])

    def confirm(self, type: str, through: int) -> None:
        """Samples up to number `through` have arrived."""
        line = self._lines[type]
        self._memory_bytes -= line.confirm(through)
        if line.to_forget and self._forget_at is None:
            self._forget_at = self._clock.up() + FORGET_S
            self._wake.set()

    def discard(self, type: str, seq: int) -> None:
        """Sample number `seq` cannot be sent, whatever is tried; all before it have arrived."""
        self._lines[type].unsaved_dropped += 1
        self.confirm(type, seq)

    async def run(self) -> None:
        """Writes what is due, until it is cancelled."""
        while True:
            self._wake.clear()
            wait_s = await self.maintain()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()

    async def maintain(self) -> float:
        """Writes what is due now; in how many seconds something will be."""
        async with self._lock:
            now = self._clock.up()
            if self._trouble.reason is None:
                await self._flush_due(now)
            if self._trouble.reason is not None and now >= self._trouble.retry_at:
                if self._store is None:
                    await self._open()
                await self._flush(everything=True)
            return self._next_s(self._clock.up())

    async def close(self) -> None:
        """Everything goes to the disk."""
        async with self._lock:
            store = self._store
            if store is not None:
                await self._flush(everything=True, closing=True)
                await self._in_thread(store.close)
                self._store = None
        self._executor.shutdown(wait=False)

    @property
    def state(self) -> OutboxState:
        now = self._clock.up()
        memory = sum(len(line.pending) for line in self._lines.values())
        return OutboxState(
            samples=memory + sum(line.samples_stored for line in self._lines.values()),
            memory_samples=memory,
            disk_bytes=self._disk_bytes,
            dropped={line.name: line.dropped for line in self._lines.values() if line.dropped},
            expired={line.name: line.expired for line in self._lines.values() if line.expired},
            written=self._wear.total,
            written_last_hour=self._wear.last_hour(now),
            trouble=self._trouble.reason,
        )

    async def _read_stored(self, line: Line, after: int, limit_bytes: int) -> Run | None:
        """Where nothing is left behind `after`, because all of it was damaged, the line knows it afterwards."""
        async with self._lock:
            if (store := self._store) is None:
                return None
            read = functools.partial(store.read, line.name, after, limit_bytes)
            result = await self._try(lambda: (read(), store.rows[line.name]))
            if result is None:
                return None
            run, row = result
            line.stored(row)
            if run is None:
                line.last_stored = min(line.last_stored, after)
            return run

    async def _flush_due(self, now: float) -> None:
        lines = self._lines.values()
        oldest = min((line.pending[0].stamp.up_s for line in lines if line.pending), default=None)
        overdue = oldest is not None and now - oldest >= self._limits.flush_s
        everything = overdue or self._memory_bytes > FLUSH_BYTES
        expire = self._limits.keep_s > 0 and now >= self._expire_at
        forget = self._forget_at is not None and now >= self._forget_at
        durable = any(line.pending and line.kind.durable for line in lines)
        reserve = any(line.needs_reserve for line in lines)
        if everything or expire or forget or durable or reserve or self._raised_changed:
            await self._flush(everything=everything, expire=expire)

    async def _flush(self, *, everything: bool, expire: bool = False, closing: bool = False) -> None:
        store, now = self._store, self._clock.now()
        if store is None:
            return
        changes, raised = [], self.raised if self._raised_changed else None
        for line in self._lines.values():
            write = everything or line.kind.durable
            changes.append(
                TypeChange(
                    kind=line.kind,
                    name=line.name,
                    reserved=line.reserve(more=not closing),
                    confirmed=line.confirmed,
                    dropped=line.unsaved_dropped,
                    samples=tuple(line.pending) if write else (),
                )
            )
        older_than = Stamp(now.time_s - self._limits.keep_s, now.up_s - self._limits.keep_s) if expire else None
        change = Change(offset_s=self._clock.offset_s, types=changes, raised=raised, older_than=older_than)
        self._raised_changed = False
        applied = await self._try(lambda: (store.apply(change), store.take_written(), store.used_bytes))
        if applied is None:
            self._raised_changed = self._raised_changed or raised is not None
            return
        rows, written, self._disk_bytes = applied
        self._wear.add(now.up_s, written)
        for one in changes:
            line = self._lines[one.name]
            line.unsaved_dropped -= one.dropped
            line.stored(rows[one.name])
            if one.samples:
                self._memory_bytes -= line.written(one.samples[-1].seq)
        self._forget_at = None if not any(line.to_forget for line in self._lines.values()) else now.up_s + FORGET_S
        if expire:
            self._expire_at = now.up_s + EXPIRE_S
        self.arrived.set()

    async def _open(self) -> None:
        """Opens the file; a damaged one is set aside and made anew."""
        store = await self._try(self._opened)
        if store is not None:
            self._adopt(store)

    def _opened(self) -> Store:
        """In the thread."""

        def make() -> Store:
            return Store(
                self._path,
                cap_bytes=self._limits.cap_bytes,
                boot=self._clock.boot,
                offset_s=self._clock.offset_s,
            )

        try:
            return make()
        except DamagedError as error:
            aside = OUTBOX.set_aside(self._path)
            _log.error("%s It was set aside as %s; what it held is lost.", error.message, aside.name)
            return make()

    def _adopt(self, store: Store) -> None:
        """What waits in memory goes on behind what lies on the disk, with the disk's numbers."""
        before, self._lines = self._lines, {row.name: Line.of(row) for row in store.rows.values()}
        for name, old in before.items():
            line = self._lines.get(name)
            if line is None:
                line = self._lines[name] = Line(kind=old.kind, name=name, reserved=0)
            for sample in old.pending:
                line.add(sample.stamp, sample.body)
            line.unsaved_dropped += old.unsaved_dropped
        self._store, self.log = store, store.log
        if not self._raised_changed:
            self.raised = dict(store.raised)
        self._forget_at = None
        self._wake.set()
        self.arrived.set()

    async def _try(self, work: Callable[[], T]) -> T | None:
        """What `work` gives, in the thread; None where the disk does not let it, which is said."""
        try:
            result = await self._in_thread(work)
        except DamagedError as error:
            store, self._store = self._store, None
            if store is not None:
                store.abandon()
            self._stumble(error, soon=True)
        except EdgeAgentError as error:
            self._stumble(error)
        else:
            if self._trouble.worked():
                _log.warning("the outbox is on the disk again")
            return result
        return None

    def _stumble(self, error: EdgeAgentError, *, soon: bool = False) -> None:
        if self._trouble.stumbled(error.message, self._clock.up(), soon=soon):
            _log.error("%s Telemetry is kept in memory only.", error)
        self._wake.set()

    def _next_s(self, now: float) -> float:
        if self._trouble.reason is not None:
            return max(0.1, self._trouble.retry_at - now)
        due = [now + EXPIRE_S]
        due += [line.pending[0].stamp.up_s + self._limits.flush_s for line in self._lines.values() if line.pending]
        if self._forget_at is not None:
            due.append(self._forget_at)
        if self._limits.keep_s > 0:
            due.append(self._expire_at)
        return max(0.0, min(due) - now)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Waits for its end even when cancelled: it may hold the database."""
        future = asyncio.get_running_loop().run_in_executor(self._executor, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])
            raise
