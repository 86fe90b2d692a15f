"""One of those who listen to the device's microphone: its own queue, so that it holds up nobody."""

from __future__ import annotations

from agent.errors import RequestError
from agent.speech.event_queue import EventQueue
from agent.speech.events import Level, LiveEvent


class Listener:
    """`async for events in listener`: lists of events as they come, at least one. Ends when the microphone is closed.

    Levels and partials are left out for one that does not keep up. One that leaves 256 other events unread is dropped:
    its iteration ends with `RequestError`.
    """

    def __init__(self, *, levels: bool) -> None:
        self.levels = levels
        self._events = EventQueue()
        self._over = False

    def put(self, event: LiveEvent) -> None:
        if self._over or (isinstance(event, Level) and not self.levels):
            return
        if self._events.full:
            self._over = True
            self._events.close(
                RequestError("The listener does not read its events: 256 are waiting.", hint="Read them as they come.")
            )
            return
        self._events.put(event)

    def end(self) -> None:
        """No more events; those that wait can still be read."""
        self._over = True
        self._events.close()

    def __aiter__(self) -> Listener:
        return self

    async def __anext__(self) -> list[LiveEvent]:
        return await self._events.get_all()
