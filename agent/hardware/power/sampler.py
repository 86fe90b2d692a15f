"""The thin loop around a meter: reads it now and then, keeps the account, and says what was read last."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from agent.errors import EdgeAgentError
from agent.hardware.power.account import Bill, EnergyAccount, RequestEnergy
from agent.hardware.power.energy import LONGEST_GAP_S, IdlePower, Integrator
from agent.hardware.power.meter import Meter
from agent.hardware.power.seen import Payer
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
        """Work has begun that was not looked at lately."""
        self._pushed = False

    async def run(self) -> None:
        """Sample until cancelled, often while requests run."""
        while True:
            await self.sample()
            await self._until_the_next()

    async def _until_the_next(self) -> None:
        """A second where work runs, or begins that was looked at within the last second; a moment where it begins
        that was not; until it is woken from outside."""
        idle_s, busy_s = self._periods_s
        now_s = asyncio.get_running_loop().time
        soon_s, late_s = now_s() + busy_s, now_s() + idle_s
        self._begun = self._pushed = False
        busy = bool(self._account.running)
        while not self._pushed and not self._begun:
            self._woken.clear()
            try:
                async with asyncio.timeout_at(soon_s if busy else late_s):
                    await self._woken.wait()
            except TimeoutError:
                return
            busy = True
        if self._begun:
            await asyncio.sleep(SETTLE_S)

    def wake(self) -> None:
        """There is something to read."""
        self._pushed = True
        self._woken.set()

    def begin(self, key: Hashable, *, weight: float = 1.0, payer: Payer = (), waits: bool = False) -> None:
        """A worker has a request, and computes it unless it `waits`."""
        now_s = self._clock()
        if not waits:
            self._wake_for(payer, now_s)
        self._account.begin(key, now_s, weight=weight, payer=payer, waits=waits)

    def compute(self, key: Hashable, at_s: float) -> None:
        """One that waited is computed since `at_s`."""
        now_s = self._clock()
        payer = self._account.payer(key)
        if payer is not None:
            self._wake_for(payer, now_s)
        self._account.compute(key, min(now_s, at_s))

    def _wake_for(self, payer: Payer, now_s: float) -> None:
        """The first one of several wakes the loop for a sample."""
        if not self._account.running:
            self._begun = self._begun or not self._account.sees(payer, now_s - self._periods_s[1])
            self._woken.set()

    async def finish(self, key: Hashable, at_s: float | None = None) -> RequestEnergy | None:
        """It was done at `at_s`, None for now. A quick meter is read first, so that its last second is measured and not
        estimated.

        None where the key is unknown, or the meter has never been read.
        """
        if self._meter.quick:
            await self.sample(since_s=self._account.began_s(key))
        bill = self.end(key, at_s)
        return None if bill is None else bill.energy()

    def end(self, key: Hashable, at_s: float | None = None) -> Bill | None:
        """It was done at `at_s`, None for now; what it cost is asked for later, when the meter may have been read
        again. None as of `finish`."""
        now_s = self._clock()
        bill = self._account.end(key, now_s if at_s is None else min(now_s, at_s))
        return None if self._reading is None and not self._account.total_joules else bill

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

    async def sample(self, *, since_s: float | None = None) -> None:
        """Read the meter in a thread, unless it was just read, and after `since_s`; book what has passed since."""
        async with self._lock:
            fresh = self._clock() - self._sampled_at_s < _FRESH_S
            if fresh and (since_s is None or self._sampled_at_s > since_s):
                return
            try:
                began_s = self._clock()
                sample = await asyncio.to_thread(self._meter.read, began_s)
                if sample.at_s == began_s:  # else it was sent earlier, by somebody else
                    sample = replace(sample, took_s=self._clock() - began_s)
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
