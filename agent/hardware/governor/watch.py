"""Reads the board for the governor: the sensors, the supply, the meter, and what the runtime says of its work."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.hardware.command import Runner
from agent.hardware.governor.decision import Readings
from agent.hardware.power.supply import read_supply
from agent.hardware.sensors.power import PowerMeter
from agent.hardware.sensors.pressure import read_pressure
from agent.hardware.sensors.temperature import read_temperature
from agent.hardware.sensors.throttling import Throttling, read_throttling

_MEAN_OVER_S: Final = 10.0


@dataclass(frozen=True)
class Work:
    """What the runtime did so far: whether it computes now, and all tokens that it generated since the start."""

    busy: bool
    tokens: int


class Watch:
    """Call it every second or two, from any one thread: it reads some ten small files."""

    def __init__(
        self,
        work: Callable[[], Work],
        *,
        meter: PowerMeter | None = None,
        root: Path = Path("/"),
        run: Runner | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._work, self._meter, self._root, self._run, self._clock = work, meter, root, run, clock
        self._watts: float | None = None
        self._tokens_per_s: float | None = None
        self._last: tuple[float, int] | None = None
        self._count: int | None = None

    def __call__(self) -> Readings:
        now_s, work = self._clock(), self._work()
        reading = self._meter.read() if self._meter else None
        temperature = read_temperature(self._root)
        supply = read_supply(self._root)
        memory = read_pressure("memory", self._root)
        self._learn(now_s, work, None if reading is None else reading.watts)
        return Readings(
            now_s=now_s,
            busy=work.busy,
            celsius=None if temperature is None else temperature.celsius,
            throttled=self._throttled(read_throttling(self._root, run=self._run)),
            on_mains=supply.on_mains,
            battery_percent=supply.battery_percent,
            watts=self._watts,
            tokens_per_s=self._tokens_per_s,
            memory_stall_percent=None if memory is None else memory.full_percent,
        )

    def _learn(self, now_s: float, work: Work, watts: float | None) -> None:
        """Running means while it works; at rest they keep what they were."""
        last, self._last = self._last, (now_s, work.tokens)
        if watts is None:
            self._watts = None
        if last is None or not work.busy or now_s <= last[0]:
            return
        weight = min(1.0, (now_s - last[0]) / _MEAN_OVER_S)
        self._tokens_per_s = _blend(self._tokens_per_s, (work.tokens - last[1]) / (now_s - last[0]), weight)
        if watts is not None:
            self._watts = _blend(self._watts, watts, weight)

    def _throttled(self, throttling: Throttling | None) -> tuple[str, ...]:
        """x86 only counts how often: one more since the last look means now."""
        if throttling is None:
            return ()
        before, self._count = self._count, throttling.count
        if throttling.count is not None and before is not None and throttling.count > before:
            return (*throttling.now, "throttled")
        return throttling.now


def _blend(old: float | None, new: float, weight: float) -> float:
    return new if old is None else old + weight * (new - old)
