"""The board's power meter as telemetry reads it: looked for at the first reading, which may take seconds."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from agent.errors import EdgeAgentError
from agent.hardware.power.choose import Choice, choose_meter
from agent.hardware.power.meter import Meter
from agent.hardware.sensors.power import PowerReading

AGAIN_S: Final = 3600.0
"""Where nothing measures, it is looked for again: rights and drivers change, a battery is unplugged."""

_log = logging.getLogger("agent.fleet.telemetry")


class BoardMeter:
    """An `agent.hardware.sensors.power.PowerMeter`. `wanted` is the profile's `[power] meter`.

    Watts of a counter are the mean since the reading before. Joules come from a counter only: watts that are read once
    a minute say nothing of what was drawn between. Each call belongs into a thread, one at a time.
    """

    def __init__(
        self,
        wanted: str,
        *,
        choose: Callable[[str], Choice] = choose_meter,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wanted = wanted
        self._choose = choose
        self._clock = clock
        self._meter: Meter | None = None
        self._look_at = 0.0
        self._complained = False

    @property
    def scope(self) -> str | None:
        """What the watts cover: the whole board, or the processor alone. None where nothing measures."""
        return self._meter.scope if self._meter is not None else None

    def read(self) -> PowerReading | None:
        """None where nothing measures, and while it cannot be read."""
        meter = self._found()
        if meter is None:
            return None
        try:
            sample = meter.read(self._clock())
        except EdgeAgentError as error:
            if not self._complained:
                _log.warning("power is not measured at present: %s", error)
            self._complained = True
            return None
        self._complained = False
        return None if sample.watts is None else PowerReading(watts=sample.watts, energy_joules=sample.joules)

    def _found(self) -> Meter | None:
        now = self._clock()
        if self._meter is None and now >= self._look_at:
            first, self._look_at = self._look_at == 0.0, now + AGAIN_S
            choice = self._choose(self._wanted)
            self._meter = choice.meter
            if first or choice.meter is not None:
                _log.info("power: %s", choice.reason)
        return self._meter
