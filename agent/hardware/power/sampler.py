"""The thin loop around a meter: reads it now and then, keeps the account, and says what was read last."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Final

from agent.errors import EdgeAgentError
from agent.hardware.power.account import EnergyAccount, Payer, RequestEnergy
from agent.hardware.power.energy import LONGEST_GAP_S, IdlePower, Integrator
from agent.hardware.power.meter import Meter
from agent.hardware.sensors.power import PowerReading

log = logging.getLogger(__name__)

BUSY_PERIOD_S: Final = 1.0
IDLE_PERIOD_S: Final = 10.0
SETTLE_S: Final = 0.1
"""How long after work began it is looked at first: at the very beginning the board still draws what it did at rest."""
_FRESH_S: Final = 0.05
"""A sample this young is taken for one of now."""


@dataclass(frozen=True, kw_only=True)
class EnergyStatus:
    """For `/status` and the metrics. `failure` says why the meter cannot be read at present; empty where it can."""

    source: str
    scope: str
    watts: float | None
    total_joules: float
    request_joules: float
    missing_s: float
    failure: str


class EnergySampler:
    """An `agent.hardware.sensors.power.PowerMeter` over a `Meter`. All methods but `read` belong to the event loop."""

    def __init__(
        self,
        meter: Meter,
        *,
        idle_watts: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        busy_period_s: float = BUSY_PERIOD_S,
        idle_period_s: float = IDLE_PERIOD_S,
        longest_gap_s: float = LONGEST_GAP_S,
    ) -> None:
        """`idle_watts`: what the board draws at rest on this meter; 0 to learn it. `longest_gap_s`: between two
        readings of watts further apart nothing is known."""
        self._meter = meter
        self._clock = clock
        self._periods_s = (idle_period_s, busy_period_s)
        self._integrator = Integrator(max(idle_period_s, busy_period_s, longest_gap_s))
        self._account = EnergyAccount(IdlePower(idle_watts))
        self._reading: PowerReading | None = None
        self._failure = ""
        self._sampled_at_s = float("-inf")
        self._lock = asyncio.Lock()
        self._woken = asyncio.Event()
        self._begun = False
        """The first of the requests that run has begun since the last look."""

    async def run(self) -> None:
        """Sample until cancelled, often while requests run."""
        while True:
            await self.sample()
            self._woken.clear()
            self._begun = False
            try:
                async with asyncio.timeout(self._periods_s[bool(self._account.running)]):
                    await self._woken.wait()
            except TimeoutError:
                continue
            if self._begun:
                await asyncio.sleep(SETTLE_S)

    def wake(self) -> None:
        """There is something to read."""
        self._woken.set()

    def begin(self, key: Hashable, *, weight: float = 1.0, payer: Payer = ()) -> None:
        """A request starts to compute (not: to wait). The first one of several wakes the loop for a sample."""
        if not self._account.running:
            self._begun = True
            self._woken.set()
        self._account.begin(key, self._clock(), weight=weight, payer=payer)

    async def finish(self, key: Hashable) -> RequestEnergy | None:
        """It is done. A quick meter is read first, so that its last second is measured and not estimated.

        None where the key is unknown, or the meter has never been read.
        """
        if self._meter.quick:
            await self.sample()
        energy = self._account.end(key, self._clock())
        return None if self._reading is None and not self._account.total_joules else energy

    def drop(self, key: Hashable) -> None:
        """It was cancelled: nobody asks what it cost, but the totals do."""
        self._account.end(key, self._clock())

    @property
    def joules_by_payer(self) -> Mapping[Payer, float]:
        """What requests were charged, by who pays."""
        return self._account.joules_by_payer

    def read(self) -> PowerReading | None:
        """The last reading, at once; None while the meter cannot be read."""
        return self._reading

    def status(self) -> EnergyStatus:
        return EnergyStatus(
            source=self._meter.source,
            scope=self._meter.scope,
            watts=None if self._reading is None else self._reading.watts,
            total_joules=self._account.total_joules,
            request_joules=self._account.request_joules,
            missing_s=self._account.missing_s,
            failure=self._failure,
        )

    async def sample(self) -> None:
        """Read the meter in a thread, unless it was just read, and book what has passed since."""
        async with self._lock:
            if self._clock() - self._sampled_at_s < _FRESH_S:
                return
            try:
                sample = await asyncio.to_thread(lambda: self._meter.read(self._clock()))
            except EdgeAgentError as error:
                if not self._failure:
                    log.warning("Energy is not measured at present: %s", error)
                self._failure, self._reading = str(error), None
                self._sampled_at_s = self._clock()
                return
            if self._failure:
                log.info("Energy is measured again: %s", self._meter.source)
            self._failure = ""
            self._sampled_at_s = self._clock()
            interval = self._integrator.add(sample)
            if interval is not None:
                self._account.add(interval)
            watts = sample.watts
            if watts is None and interval is not None and interval.joules is not None:
                watts = interval.joules / interval.duration_s
            if watts is not None:
                self._reading = PowerReading(watts=watts, energy_joules=self._account.total_joules)
