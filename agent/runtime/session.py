"""A loaded worker at work: waiting requests go to it while it has free slots, its events go to their streams."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from agent.errors import EdgeAgentError, by_code
from agent.runtime.budget import MemoryBudget, Tenant
from agent.runtime.faults import deadline_error
from agent.runtime.flights import Flights, work_of
from agent.runtime.heartbeat import Heartbeat
from agent.runtime.queue import AdmissionQueue
from agent.runtime.snapshot import Counters, Health
from agent.runtime.spec import Limits
from agent.runtime.stream import Stream
from agent.runtime.wire.control import Cancel, Ping, Pong, SetPace, SetThreads
from agent.runtime.wire.errors import Failed
from agent.runtime.wire.generation import Finished
from agent.runtime.wire.loading import Loaded, LoadFailed, Predicted
from agent.runtime.wire.messages import FromWorker
from agent.runtime.worker import Worker


class Session:
    """From `Loaded` to the last request. `proven` turns true with the first request that ran to its end."""

    def __init__(
        self,
        tenant: Tenant,
        worker: Worker,
        loaded: Loaded,
        *,
        queue: AdmissionQueue[Stream],
        budget: MemoryBudget,
        limits: Limits,
        counters: Counters,
        health: Health,
        clock: Callable[[], float],
    ) -> None:
        self.loaded = loaded
        self.stats: Pong | None = None
        self.flights = Flights(counters, slots=loaded.slots)
        self.proven = False
        self.held = False
        self.used_at: float | None = None
        self._draining = False
        self._threads: SetThreads | None = None
        self._pace: SetPace | None = None
        self._tenant = tenant
        self._worker = worker
        self._queue = queue
        self._budget = budget
        self._limits = limits
        self._counters = counters
        self._health = health
        self._clock = clock
        self._heartbeat = Heartbeat(limits, clock())

    async def serve(self) -> None:
        """Returns when nothing runs and either `drain` was called or the keep-alive is over.

        Raises `WorkerGoneError` as soon as the worker is lost.
        """
        beat = asyncio.create_task(self._beat(), name=f"heartbeat:{self._tenant.name}")
        self._worker.express = self.flights.pass_on
        try:
            self.dispatch()
            while self.flights or not (self._draining or self._budget.outlived(self._tenant)):
                self._deliver(await self._worker.receive())
                self.dispatch()
        finally:
            self._worker.express = None
            beat.cancel()

    def count(self, counters: Counters, health: Health) -> None:
        """Count into these from now on."""
        self._counters = self.flights.counters = counters
        self._health = health

    def set_threads(self, threads: int, threads_batch: int) -> None:
        """Takes effect at the next step, with engines that can change it."""
        order = SetThreads(threads, threads_batch)
        if order != self._threads:
            self._threads = order
            self._worker.send(order)

    def set_pace(self, order: SetPace) -> None:
        """The same for rests and steps."""
        if order != self._pace:
            self._pace = order
            self._worker.send(order)

    def drain(self) -> None:
        """Start nothing more."""
        self._draining = True
        self._worker.wake()

    def silent_s(self, now: float) -> float:
        """How long ago the worker's last answer came."""
        return self._heartbeat.silent_s(now)

    def offer(self, stream: Stream) -> bool:
        """Start the request at once if a slot is free and nobody is before it."""
        if not self._dispatching or self._queue.waiting(self._tenant.lane):
            return False
        room = self.flights.room
        if room is not None and stream.cost > room:
            return False
        self._start(stream, self._clock())
        return True

    def dispatch(self) -> None:
        """Send waiting requests while slots are free."""
        while self._dispatching and (self.flights.room is None or self.flights.room > 0):
            entry = self._queue.pop(self._tenant.lane, room=self.flights.room)
            if entry is None:
                return
            now = self._clock()
            if entry.overdue(now):
                self._counters.expired += 1
                entry.item.fail(deadline_error(self._tenant.name, now - entry.arrived))
            else:
                self._start(entry.item, now)

    def drop(self, stream: Stream) -> None:
        """`Holder`: the stream of a running request was closed."""
        if self.flights.drop(stream, self._clock(), failed=stream.failed):
            self._worker.send(Cancel(stream.id))

    def abandon(self, error: Callable[[], EdgeAgentError]) -> None:
        """Fail what runs, and stop it."""
        ids = self.flights.clear(error)
        if ids:
            self._worker.send(*[Cancel(id) for id in ids])
            self._budget.use(self._tenant, busy=False)
        self._worker.wake()

    @property
    def _dispatching(self) -> bool:
        return not (self._draining or self.held) and self._worker.running and self._worker.writable

    def _start(self, stream: Stream, now: float) -> None:
        if not self.flights:
            self._budget.use(self._tenant, busy=True)
        self.flights.add(stream, now)
        stream.begin(self, now)
        self._counters.queued_s += stream.queued_s
        self._worker.send(stream.request)

    def _deliver(self, messages: list[FromWorker]) -> None:
        for message in messages:
            if isinstance(message, Pong):
                self._heartbeat.heard(message, self._clock())
                self.stats = message
                self._budget.grew(self._tenant, message.resident_bytes)
            elif not isinstance(message, (Predicted, Loaded, LoadFailed)):
                flight = self.flights.deliver(message)
                if flight is None:
                    continue
                now = self.used_at = self._clock()
                self._queue.served(now - flight.started)
                if isinstance(message, Failed):
                    self._health.requests_failed += by_code(message.error.code).status >= 500
                elif not (isinstance(message, Finished) and message.reason == "cancelled"):
                    self.proven = True
                    self._health.requests_ok += 1
                    units, work_s = work_of(message, now - flight.started)
                    self._health.units += units
                    self._health.work_s += work_s
                if not self.flights:
                    self._budget.use(self._tenant, busy=False)

    async def _beat(self) -> None:
        """Pings, and kills a worker that is not alive."""
        seq = 0
        while True:
            seq += 1
            self._worker.send(Ping(seq))
            slept_at = self._clock()
            await asyncio.sleep(self._limits.heartbeat_s)
            now = self._clock()
            oldest_drop = self.flights.oldest_drop()
            reason = self._heartbeat.verdict(now, slept_s=now - slept_at, oldest_drop=oldest_drop)
            if reason is not None:
                self._worker.condemn(reason)
            elif self._budget.outlived(self._tenant):
                self._worker.wake()
