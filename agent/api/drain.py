"""Whether new requests are taken, and how many are being answered: what a graceful shutdown needs to know."""

from __future__ import annotations

import asyncio
from types import TracebackType


class Drain:
    """Entered (`with drain:`) for as long as a request is being answered."""

    def __init__(self) -> None:
        self.refusing = False
        self.active = 0
        self._refused = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def refuse(self) -> None:
        """New requests get 503 from now on; those that run go on."""
        self.refusing = True
        self._refused.set()

    async def refused(self) -> None:
        """Returns when new requests are refused: what never ends by itself should end now."""
        await self._refused.wait()

    def __enter__(self) -> None:
        self.active += 1
        self._idle.clear()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.active -= 1
        if not self.active:
            self._idle.set()

    async def wait_idle(self, timeout_s: float) -> bool:
        """Waits until nothing is being answered; False if that took longer than `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True
