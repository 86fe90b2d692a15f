"""Pieces of what a command is making, on `.../stream`: numbered, at most once, never in the way of the work."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from agent.errors import EdgeAgentError
from agent.fleet.commands.line import Line
from agent.fleet.link.messages import Publication

WAITING: Final = 256
"""Pieces that a slow line may owe; later ones are left out, and their numbers missing."""
LAST_S: Final = 0.5

_log = logging.getLogger("agent.fleet.commands")


class PieceStream:
    """`async with PieceStream(...) as pieces: await pieces({"text": ...})`. Each goes out as `{"n": 0, ...}`.

    On leaving, what still waits is sent, for `LAST_S` at most. Without a topic nothing is sent.
    """

    def __init__(self, line: Line, topic: str | None) -> None:
        self._line = line
        self._topic = topic
        self._number = 0
        self._waiting: deque[bytes] = deque()
        self._more = asyncio.Event()
        self._ended = False
        self._sender: asyncio.Task[None] | None = None

    async def __call__(self, piece: Mapping[str, Any]) -> None:
        number, self._number = self._number, self._number + 1
        if self._topic is None or len(self._waiting) >= WAITING:
            return
        self._waiting.append(msgspec.json.encode({"n": number, **piece}))
        self._more.set()
        if self._sender is None:
            self._sender = asyncio.create_task(self._send(self._topic), name="pieces")

    async def __aenter__(self) -> PieceStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._sender is None:
            return
        self._ended = True
        self._more.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_S):
                await self._sender  # cancelled with the wait

    async def _send(self, topic: str) -> None:
        while True:
            while self._waiting:
                try:
                    await self._line.publish(Publication(topic=topic, payload=self._waiting.popleft(), qos=0))
                except EdgeAgentError as error:
                    _log.debug("a piece was not sent: %s", error)
            if self._ended:
                return
            self._more.clear()
            await self._more.wait()
