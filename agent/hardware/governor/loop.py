"""The thin loop around the governor: look, decide, and have it done where something changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from agent.errors import EdgeAgentError
from agent.hardware.governor.clock import ClockLimit
from agent.hardware.governor.decision import Decision, Readings
from agent.hardware.governor.policy import Governor

log = logging.getLogger(__name__)

PERIOD_S: Final = 2.0


class GovernorLoop:
    """`read` blocks and is called in a thread; `apply` tells the runtime. What failed is tried again at the next look.

    The clock is set here, since it is the machine's; threads, pauses and the rest are the runtime's, in `apply`.
    """

    def __init__(
        self,
        governor: Governor,
        read: Callable[[], Readings],
        apply: Callable[[Decision], Awaitable[None]],
        *,
        clock_limit: ClockLimit | None = None,
        period_s: float = PERIOD_S,
    ) -> None:
        self._governor, self._read, self._apply = governor, read, apply
        self._clock_limit, self._period_s = clock_limit, period_s
        self._applied: Decision | None = None
        self.decision: Decision | None = None
        """The last one, for `/status` and the metrics; None before the first."""
        self.readings: Readings | None = None
        self.changes = 0
        """How often something was changed since the start."""

    def replace(self, governor: Governor) -> None:
        """Another mode, or other bounds: from the next look on."""
        self._governor = governor

    async def run(self) -> None:
        """Until cancelled; then the clock is given back."""
        try:
            while True:
                await self.step()
                await asyncio.sleep(self._period_s)
        finally:
            if self._clock_limit is not None:
                try:
                    self._clock_limit.set(None)
                except EdgeAgentError as error:
                    log.warning("The clock limit stays as it is: %s", error)

    async def step(self) -> None:
        """Look once."""
        self.readings = await asyncio.to_thread(self._read)
        before, self.decision = self.decision, self._governor.decide(self.readings)
        if before is None or before.cause != self.decision.cause or before.rung != self.decision.rung:
            log.info("%s", self.decision.reason)
        if not self.decision.differs(self._applied):
            return
        try:
            if self._clock_limit is not None and (
                self._applied is None or self._applied.max_mhz != self.decision.max_mhz
            ):
                self._clock_limit.set(self.decision.max_mhz)
            await self._apply(self.decision)
        except EdgeAgentError as error:
            log.warning("The governor's decision was not carried out: %s", error)
            return
        if self._applied is not None:
            self.changes += 1
        self._applied = self.decision
