"""Tells devices what was taken. The newest word about a type counts; older ones need not be said."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

import msgspec

from agent.errors import EdgeAgentError
from agent.fleet.link.link import Link
from agent.fleet.link.messages import Publication
from agent.fleet.topics import Topics

WAITING: Final = 50_000
PAUSE_S: Final = 0.1


class Acknowledging:
    """What cannot be said now is not said later: the device sends again, and is answered then."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._waiting: dict[tuple[str, str], Publication] = {}
        self._more = asyncio.Event()

    def put(self, topics: Topics, word: dict[str, Any]) -> None:
        """`word` is `{"type", "seq", "log"}`. Only for what is stored."""
        key = (topics.device, word["type"])
        if key in self._waiting or len(self._waiting) < WAITING:
            self._waiting[key] = Publication(topic=topics.acknowledgement, payload=msgspec.json.encode(word))
            self._more.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await self._more.wait()
            await asyncio.sleep(PAUSE_S)
            self._more.clear()
            publications, self._waiting = list(self._waiting.values()), {}
            for publication in publications:
                with contextlib.suppress(EdgeAgentError):
                    await self._link.publish(publication)
