"""The board's power meter as the daemon keeps it: one reader for requests, /status, the metrics and telemetry."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import asdict
from typing import Any, Final

from agent.hardware.power.account import Bill, RequestEnergy
from agent.hardware.power.choose import Choice
from agent.hardware.power.energy import LONGEST_GAP_S
from agent.hardware.power.pushed import PushedMeter
from agent.hardware.power.sampler import EnergySampler
from agent.hardware.sensors.power import PowerReading

AGAIN_S: Final = 3600.0
"""Where nothing measures, it is looked for again: rights and drivers change, a battery is unplugged."""

_ROUNDING_S: Final = 1e-6

_log = logging.getLogger("agent.energy")


class Energy:
    """What requests cost (`agent.runtime.stream.Energy`), and what the board draws (telemetry's `ScopedMeter`).

    `choose` finds the meter; it blocks for some seconds and is called in a thread. `idle_watts` is what the board draws
    at rest on that meter, 0 to learn it. `pushed` is the meter whose readings come by `push`, where there is one.
    `read` and `scope` may be asked from any thread.
    """

    def __init__(
        self,
        choose: Callable[[], Choice],
        *,
        idle_watts: float = 0.0,
        pushed: PushedMeter | None = None,
        again_s: float = AGAIN_S,
    ) -> None:
        self._choose = choose
        self._pushed = pushed
        self._idle_watts = idle_watts
        self._again_s = again_s
        self._sampler: EnergySampler | None = None
        self._scope: str | None = None
        self._quick = False
        self._bills: set[asyncio.Task[float | None]] = set()
        self.reason = "The meter is being looked for."
        """Which meter is read, or why none is, in a sentence."""
        self.chosen = asyncio.Event()
        """It was looked for once."""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self._measure()
            except Exception:  # a broken meter is no reason to stop the daemon
                _log.exception("power is not measured any more")
                self.reason, self._sampler = "Reading the meter failed; see the log.", None
            self.chosen.set()
            await asyncio.sleep(self._again_s)

    async def _measure(self) -> None:
        """Returns where nothing measures."""
        choice = await asyncio.to_thread(self._choose)
        if choice.reason != self.reason:
            _log.info("power: %s", choice.reason)
        self.reason = choice.reason
        if choice.meter is None:
            return
        self._scope = choice.meter.scope
        self._quick = choice.meter.quick
        self._sampler = EnergySampler(choice.meter, idle_watts=self._idle_watts, longest_gap_s=choice.longest_gap_s)
        self.chosen.set()
        await self._sampler.run()

    def push(self, watts: float) -> None:
        """A reading came from outside. Raises `RequestError` for watts that cannot be."""
        if self._pushed is not None:
            self._pushed.push(watts, time.monotonic())
            if self._sampler is not None:
                self._sampler.wake()

    # For the streams of requests

    def begin(self, key: int, model: str, task: str, *, waits: bool = False) -> None:
        """A worker has the request. One that `waits` costs nothing until `compute`."""
        if self._sampler is not None:
            self._sampler.begin(key, payer=(model, task), waits=waits)

    def compute(self, key: int, at_s: float) -> None:
        """The worker has begun with it, at `at_s` (`time.monotonic`)."""
        if self._sampler is not None:
            self._sampler.compute(key, at_s)

    def finish(self, key: int, at_s: float | None = None) -> Awaitable[float | None]:
        """It was done at `at_s`, None for now. Its joules, as soon as they are known; None where they were not.

        A quick meter is read at once. With one that is not nobody waits for its next reading: whoever asks gets what is
        known by then, and may ask again.
        """
        if self._sampler is not None and not self._quick:
            return _Asked(self._sampler, self._sampler.end(key, at_s))
        task = asyncio.get_running_loop().create_task(self._bill(key, at_s), name="energy of a request")
        self._bills.add(task)
        task.add_done_callback(self._bills.discard)
        return task

    def drop(self, key: int) -> None:
        """It was cancelled, or failed."""
        if self._sampler is not None:
            self._sampler.drop(key)

    async def _bill(self, key: int, at_s: float | None) -> float | None:
        sampler = self._sampler
        return None if sampler is None else told(await sampler.finish(key, at_s), sampler)

    # For whoever wants to know

    @property
    def measures(self) -> bool:
        return self._sampler is not None

    @property
    def joules_by_payer(self) -> Mapping[tuple[str, ...], float]:
        """Charged to the requests of each (model, task) since the start; never falls."""
        return {} if self._sampler is None else self._sampler.joules_by_payer

    @property
    def scope(self) -> str | None:
        """What the watts cover. None where nothing measures."""
        return self._scope

    def read(self) -> PowerReading | None:
        """The last reading, at once; None where nothing measures, and while it cannot be read."""
        return None if self._sampler is None else self._sampler.read()

    def status(self) -> Mapping[str, Any]:
        """For /status: `reason` always, the rest of an `EnergyStatus` where there is a meter."""
        if self._sampler is None:
            return {"source": None, "reason": self.reason}
        return {**asdict(self._sampler.status()), "reason": self.reason}


def told(spent: RequestEnergy | None, sampler: EnergySampler) -> float | None:
    """None for what was not measured, or in part only: a number that is too low would look like a good one."""
    if spent is None or sampler.status().failure or spent.missing_s or spent.blind_s > _ROUNDING_S:
        return None
    return spent.joules if spent.estimated_s <= LONGEST_GAP_S and spent.joules > 0 else None


class _Asked:
    """What a request cost by the time at which this is awaited; as often as one likes."""

    def __init__(self, sampler: EnergySampler, bill: Bill | None) -> None:
        self._sampler = sampler
        self._bill = bill

    def __await__(self) -> Generator[Any, None, float | None]:
        yield from ()  # an answer at once
        return told(None if self._bill is None else self._bill.energy(), self._sampler)
