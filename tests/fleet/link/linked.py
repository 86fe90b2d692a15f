"""A running link, and what it said."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from agent.fleet.link.address import Address
from agent.fleet.link.backoff import Pauses
from agent.fleet.link.link import Link
from agent.fleet.link.messages import Connected, Disconnected, Event, Publication, Received
from agent.fleet.link.settings import LinkSettings

E = TypeVar("E", Connected, Disconnected, Received)

PATIENCE_S = 30.0
"""So long a test waits for what must come; nothing is measured with it."""
COMMANDS = "te/device/d/service/edge-agent/cmd/+/+"
COMMAND = "te/device/d/service/edge-agent/cmd/generate/1"
HEALTH = "te/device/d/service/edge-agent/status/health"
UP = Publication(topic=HEALTH, payload=b"up", retain=True)
DOWN = Publication(topic=HEALTH, payload=b"down", retain=True)


def settings(*urls: str, **more: Any) -> LinkSettings:
    quick = {"pauses": Pauses(first_s=0.1, cap_s=0.4), "watch_s": 0.1, "client_id": "d", **more}
    return LinkSettings(brokers=tuple(map(Address.parse, urls)), **quick)


class Linked:
    """`async with Linked(url) as link`. Events are collected as they come, and acknowledged unless told otherwise."""

    def __init__(
        self,
        *urls: str,
        subscriptions: Sequence[str] = (COMMANDS,),
        acknowledges: bool = True,
        polite: bool = True,
        **more: Any,
    ) -> None:
        self.link = Link(settings(*urls, **more), will=DOWN, subscriptions=subscriptions)
        self.events: list[Event] = []
        self.acknowledges = acknowledges
        self._polite = polite
        self._more = asyncio.Event()
        self._seen = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Linked:
        self._tasks = [asyncio.create_task(self.link.run()), asyncio.create_task(self._read())]
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self._polite:  # the broker would never confirm the farewell
            await self.crash()
        await self.link.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def crash(self) -> None:
        """The daemon dies without a word."""
        self._tasks[0].cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _read(self) -> None:
        async for event in self.link.events():
            self.events.append(event)
            if isinstance(event, Received) and self.acknowledges:
                self.link.acknowledge(event)
            self._more.set()

    async def next(self, kind: type[E], where: Callable[[E], bool] = lambda _: True) -> E:
        """The first such event that no earlier call has gone past."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                while self._seen < len(self.events):
                    event = self.events[self._seen]
                    self._seen += 1
                    if isinstance(event, kind) and where(event):
                        return event
                self._more.clear()
                await self._more.wait()

    def received(self) -> list[Received]:
        return [event for event in self.events if isinstance(event, Received)]


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not true():  # noqa: ASYNC110 - what is waited for is another process, or a thread
            await asyncio.sleep(0.01)


async def soon(work: Awaitable[Any]) -> Any:
    async with asyncio.timeout(PATIENCE_S):
        return await work
