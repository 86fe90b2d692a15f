"""Who waits for a model to be loaded."""

from __future__ import annotations

import asyncio
import contextlib

from agent.errors import EdgeAgentError
from agent.runtime.faults import another


class Waiters:
    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self) -> asyncio.Future[None]:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        return waiter

    def remove(self, waiter: asyncio.Future[None]) -> None:
        """Nothing if it has its answer."""
        with contextlib.suppress(ValueError):
            self._waiting.remove(waiter)

    def take(self, others: Waiters) -> None:
        """Whoever waited for another model waits for this one."""
        self._waiting += others._taken()

    def over(self, error: EdgeAgentError | None) -> None:
        """The model is ready, or will not be for this reason."""
        for waiter in self._taken():
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(another(error))

    def _taken(self) -> list[asyncio.Future[None]]:
        waiting, self._waiting = self._waiting, []
        return waiting
