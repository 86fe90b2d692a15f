"""The retained desired state, on its way to the updater."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from agent.errors import EdgeAgentError
from agent.fleet.link.messages import Received

RETRY_S: Final = 30.0

_log = logging.getLogger("agent.fleet")


class Updates(Protocol):
    """`agent.updates_side.Updates`."""

    async def desired(self, payload: bytes) -> None:
        """On the disk when this returns. Raises `EdgeAgentError` where it cannot be written down."""

    def twin(self) -> Mapping[str, Any]:
        """What `P/twin/model` says of updates: `rev`, `error`, and by model its `update` and `rejected` versions."""


class Desired:
    """`take` each message, `run` in a task. Only the last one counts; it is acknowledged once it is on the disk."""

    def __init__(self, updates: Updates, acknowledge: Callable[[Received], None]) -> None:
        self._updates = updates
        self._acknowledge = acknowledge
        self._last: Received | None = None
        self._came = asyncio.Event()

    def take(self, received: Received) -> None:
        if self._last is not None:
            self._acknowledge(self._last)  # the one that has just come replaces it
        self._last = received
        self._came.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await self._came.wait()
            self._came.clear()
            received = self._last
            if received is None:
                continue
            try:
                await self._updates.desired(received.payload)
            except EdgeAgentError as error:
                _log.error("the desired state could not be taken: %s", error)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(RETRY_S):
                        await self._came.wait()
                self._came.set()
                continue
            if self._last is received:
                self._last = None
            self._acknowledge(received)
