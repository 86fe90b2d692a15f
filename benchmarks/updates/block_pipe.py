"""The daemon's side of blocks over a broker, alone: what `Fetch` needs where nothing else of a daemon runs."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Iterator

from agent.fleet.link.address import Address
from agent.fleet.link.link import Link
from agent.fleet.link.messages import Connected, Publication, Received
from agent.fleet.link.settings import LinkSettings
from agent.fleet.topics import Topics

Take = Callable[[str, bytes], None]


class LinkPipe:
    """`async with LinkPipe.connected_to(url) as pipe`. `loss` is the part of all answers that is thrown away; each of
    the others waits up to `jitter_s`, and is overtaken meanwhile. The line itself is too good here."""

    def __init__(self, link: Link, topics: Topics, loss: float, jitter_s: float) -> None:
        self._link = link
        self._topics = topics
        self._loss = loss
        self._jitter_s = jitter_s
        self._dice = random.Random(0)
        self._take: Take | None = None
        self.received_bytes = 0
        self.lost_blocks = 0

    @classmethod
    @contextlib.asynccontextmanager
    async def connected_to(
        cls, url: str, *, device: str = "d", loss: float = 0.0, jitter_s: float = 0.0
    ) -> AsyncIterator[LinkPipe]:
        topics = Topics("te", device)
        settings = LinkSettings(brokers=(Address.parse(url),), client_id=device)
        will = Publication(topic=topics.health, payload=b"down")
        link = Link(settings, will=will, subscriptions=[f"{topics.service}/blk/+/+"])
        pipe = cls(link, topics, loss, jitter_s)
        ready = asyncio.Event()
        tasks = [asyncio.create_task(link.run()), asyncio.create_task(pipe._follow(ready))]
        try:
            await asyncio.wait_for(ready.wait(), 30)
            yield pipe
        finally:
            await link.close()
            await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def connected(self) -> bool:
        return self._link.state.connected

    async def ask(self, payload: bytes) -> None:
        await self._link.publish(Publication(topic=self._topics.block_request, payload=payload))

    @contextlib.contextmanager
    def answers(self, take: Take) -> Iterator[None]:
        self._take = take
        try:
            yield
        finally:
            self._take = None

    async def _follow(self, ready: asyncio.Event) -> None:
        prefix = f"{self._topics.service}/blk/"
        async for event in self._link.events():
            if isinstance(event, Connected):
                ready.set()
            elif isinstance(event, Received):
                self._link.acknowledge(event)
                self._pass_on(event.topic.removeprefix(prefix), event.payload)

    def _pass_on(self, rest: str, payload: bytes) -> None:
        self.received_bytes += len(payload)
        if self._dice.random() < self._loss:
            self.lost_blocks += 1
            return
        if self._jitter_s:
            asyncio.get_running_loop().call_later(self._jitter_s * self._dice.random(), self._give, rest, payload)
        else:
            self._give(rest, payload)

    def _give(self, rest: str, payload: bytes) -> None:
        if self._take is not None:
            self._take(rest, payload)
