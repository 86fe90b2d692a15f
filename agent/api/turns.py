"""Only so many at once: the others wait in the order they came, and there is a limit to that too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from agent.errors import DeadlineError, QueueFullError

RETRY_AFTER_S = 5.0


class Turns:
    """`async with turns.turn(deadline_s):` holds one of `at_once` places; at most `capacity` wait for one."""

    def __init__(self, *, at_once: int, capacity: int) -> None:
        self._places = asyncio.Semaphore(at_once)
        self._capacity = capacity
        self.waiting = 0

    @asynccontextmanager
    async def turn(self, deadline_s: float) -> AsyncIterator[None]:
        """Raises `QueueFullError`, and `DeadlineError` after `deadline_s` of waiting."""
        if self._places.locked() and self.waiting >= self._capacity:
            raise QueueFullError(f"{self.waiting} files wait to be transcribed.", retry_after_s=RETRY_AFTER_S)
        self.waiting += 1
        try:
            async with asyncio.timeout(deadline_s):
                await self._places.acquire()
        except TimeoutError:
            raise DeadlineError(
                f"The file's turn did not come within {deadline_s:g} s.", hint="Others are being transcribed."
            ) from None
        finally:
            self.waiting -= 1
        try:
            yield
        finally:
            self._places.release()
