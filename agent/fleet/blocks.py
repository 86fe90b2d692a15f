"""Blocks of model files over the broker, for an updater that reaches nothing else."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from agent.errors import NotConnectedError
from agent.fleet.link.messages import Publication
from agent.fleet.link.state import LinkState
from agent.fleet.topics import Topics

EXPIRY_S: Final = 60
"""A request that nobody has answered by then has been asked again."""

Take = Callable[[str, bytes], None]


class Publisher(Protocol):
    """`agent.fleet.link.link.Link` is one."""

    @property
    def state(self) -> LinkState: ...

    async def publish(self, publication: Publication) -> None: ...


class Blocks:
    """What the updater sees of the broker (`agent.updates.parts.BlockPipe`). It outlives the link: `attach` tells it of
    each new one."""

    def __init__(self) -> None:
        self._link: Publisher | None = None
        self._topics: Topics | None = None
        self._take: Take | None = None

    def attach(self, link: Publisher, topics: Topics) -> None:
        self._link, self._topics = link, topics

    @property
    def connected(self) -> bool:
        return self._link is not None and self._link.state.connected

    async def ask(self, payload: bytes) -> None:
        """Raises `NotConnectedError`, `PublishRefusedError`, `TooLargeError`."""
        if self._link is None or self._topics is None:
            raise NotConnectedError("There is no link to a broker.")
        topic = self._topics.block_request
        await self._link.publish(Publication(topic=topic, payload=payload, expiry_s=EXPIRY_S))

    @contextlib.contextmanager
    def answers(self, take: Take) -> Iterator[None]:
        before, self._take = self._take, take
        try:
            yield
        finally:
            self._take = before

    def handle(self, topic: str, payload: bytes) -> bool:
        """Whether the message was a block; one that nobody waits for is dropped."""
        if self._topics is None or not topic.startswith(self._topics.blocks):
            return False
        if self._take is not None:
            self._take(topic.removeprefix(self._topics.blocks), payload)
        return True
