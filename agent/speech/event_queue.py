"""Events on their way to whoever listens: bounded, and what may be left out is left out first."""

from __future__ import annotations

import asyncio
from collections import deque

from agent.speech.events import Level, LiveEvent, Partial

CAPACITY = 256
DROPPABLE_CAPACITY = 32
"""With so many waiting, levels and partials are left out: newer ones replace them anyway."""


class EventQueue:
    """One writer's side never blocks (`put`), but asks for `room` between blocks of sound; one reader."""

    def __init__(self) -> None:
        self._events: deque[LiveEvent] = deque()
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._closed = False
        self._error: BaseException | None = None

    def put(self, event: LiveEvent) -> None:
        if isinstance(event, Level | Partial) and len(self._events) >= DROPPABLE_CAPACITY:
            return
        self._events.append(event)
        if len(self._events) >= CAPACITY:
            self._room.clear()
        self._changed.set()

    @property
    def full(self) -> bool:
        """Whether as many events wait as may."""
        return len(self._events) >= CAPACITY

    async def room(self) -> None:
        """Returns when the reader has caught up."""
        await self._room.wait()

    def close(self, error: BaseException | None = None) -> None:
        """No more events. The reader gets what is waiting, then the error, if any."""
        if not self._closed:
            self._closed, self._error = True, error
        self._changed.set()

    async def get(self) -> LiveEvent:
        """The next event. Raises `StopAsyncIteration` at the end, or the error that ended the session."""
        await self._some()
        event = self._events.popleft()
        if len(self._events) < CAPACITY // 2:
            self._room.set()
        return event

    async def get_all(self) -> list[LiveEvent]:
        """Everything that waits, at least one. Raises as `get` does."""
        await self._some()
        events = list(self._events)
        self._events.clear()
        self._room.set()
        return events

    async def _some(self) -> None:
        while not self._events:
            if self._closed:
                raise self._error or StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
