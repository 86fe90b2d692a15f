"""What waits for the daemon to take it. It is bounded: a connection's thread asks whether there is room, then reads."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import Final

from agent.fleet.link.messages import Event, Received

ROOM_MESSAGES: Final = 256
ROOM_BYTES: Final = 4 * 1024 * 1024
HARD: Final = 4
"""So much more is taken while confirmations are awaited, which come behind the messages on the same line."""


class Inbox:
    """`arriving`, `full` and `overfull` from any thread, all else from the event loop. One reader."""

    def __init__(self, room_messages: int = ROOM_MESSAGES, room_bytes: int = ROOM_BYTES) -> None:
        self._room = room_messages, room_bytes
        self._waiting_messages = 0
        self._waiting_bytes = 0
        self._counting = threading.Lock()
        self._events: deque[Event] = deque()
        self._more = asyncio.Event()
        self._closed = False

    @property
    def full(self) -> bool:
        """Read nothing more from the socket, so that the broker must wait."""
        return self._waiting_messages >= self._room[0] or self._waiting_bytes >= self._room[1]

    @property
    def overfull(self) -> bool:
        return self._waiting_messages >= HARD * self._room[0] or self._waiting_bytes >= HARD * self._room[1]

    def arriving(self, received: Received) -> None:
        """It counts from here on, though the loop has not seen it yet."""
        self._count(1, received.size_bytes)

    def forget(self, received: Received) -> None:
        """It will not be put: its connection ended first."""
        self._count(-1, -received.size_bytes)

    def _count(self, messages: int, size_bytes: int) -> None:
        with self._counting:
            self._waiting_messages += messages
            self._waiting_bytes += size_bytes

    def put(self, event: Event) -> None:
        self._events.append(event)
        self._more.set()

    def close(self) -> None:
        """What waits can still be taken; then the end."""
        self._closed = True
        self._more.set()

    async def take(self) -> Event | None:
        """The oldest event; None at the end."""
        while not self._events:
            if self._closed:
                return None
            self._more.clear()
            await self._more.wait()
        event = self._events.popleft()
        if isinstance(event, Received):
            self._count(-1, -event.size_bytes)
        return event
