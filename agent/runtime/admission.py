"""Requests on their way to a model: sent at once where a slot is free, else queued until then or their deadline."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import msgspec

from agent.errors import EdgeAgentError, QueueFullError
from agent.runtime.model import Model
from agent.runtime.queue import Entry, Priority
from agent.runtime.roster import Roster
from agent.runtime.shared import Shared
from agent.runtime.snapshot import Counters
from agent.runtime.spec import Limits
from agent.runtime.stream import Energy, Stream
from agent.runtime.wire.messages import Request


class Admission:
    """`Holder` of the requests that wait. `energy` measures what requests cost."""

    def __init__(
        self, shared: Shared, roster: Roster, *, limits: Limits, counters: Counters, energy: Energy | None
    ) -> None:
        self._queue = shared.queue
        self._clock = shared.clock
        self._roster = roster
        self._limits = limits
        self._counters = counters
        self._energy = energy
        self._ids = itertools.count(1)
        self._expiry: asyncio.TimerHandle | None = None

    def enter(
        self,
        model: Model,
        request: Request,
        *,
        client: str,
        priority: Priority,
        deadline_s: float | None = None,
    ) -> Stream:
        """Raises what made the model fail, and `QueueFullError`."""
        model.check()
        now = self._clock()
        request = msgspec.structs.replace(request, id=next(self._ids))
        stream = Stream(
            request,
            model=model.name,
            client=client,
            submitted_at=now,
            holder=self,
            limit_events=self._limits.pending_events,
            limit_bytes=self._limits.pending_bytes,
            energy=self._energy,
        )
        held = self._queue.holding and priority is not Priority.HIGH
        if held or not model.offer(stream):
            entry = Entry(
                id=stream.id,
                model=model.lane,
                client=client,
                priority=priority,
                arrived=now,
                item=stream,
                cost=stream.cost,
                deadline=None if deadline_s is None else now + deadline_s,
            )
            try:
                self._queue.put(entry, parallel=model.slots)
            except QueueFullError:
                model.counters.rejected += 1
                raise
            model.expect()
            if deadline_s is not None:
                self._arm()
        model.counters.accepted += 1
        return stream

    def patience_s(self, name: str) -> float | None:
        """In how many seconds the first request that waits for this model will have waited for too long."""
        deadlines = [entry.deadline for entry in self._queue if entry.model == name and entry.deadline is not None]
        return min(deadlines) - self._clock() if deadlines else None

    def fail(self, error: Callable[[], EdgeAgentError], *, name: str | None = None) -> None:
        """Whoever waits, for that model or for any."""
        for entry in self._queue.clear(name):
            self._counters.failed += 1
            entry.item.fail(error())

    def drop(self, stream: Stream) -> None:
        """`Holder`: the stream of a waiting request was closed."""
        entry = self._queue.remove(stream.id)
        if entry is not None and entry.model in self._roster.models:
            self._counters.cancelled += 1

    def close(self) -> None:
        """No deadline is watched any more."""
        if self._expiry is not None:
            self._expiry.cancel()

    def _arm(self) -> None:
        """Set the timer for the next deadline in the queue."""
        if self._expiry is not None:
            self._expiry.cancel()
        deadline = self._queue.next_deadline()
        if deadline is None:
            self._expiry = None
        else:
            delay_s = max(0.0, deadline - self._clock())
            self._expiry = asyncio.get_running_loop().call_later(delay_s, self._expire)

    def _expire(self) -> None:
        for entry in self._queue.expire(self._clock()):
            self._roster.models[entry.model].expire(entry.item)
        self._arm()
