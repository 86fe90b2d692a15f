"""The two clocks of a sample, and which boot they belong to."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from agent.hardware.sensors.boot import read_boot_id, up_s


class Stamp(NamedTuple):
    """`time_s` is Unix time, as wrong as the device's clock; `up_s` counts from the boot and is never set."""

    time_s: float
    up_s: float


@dataclass(frozen=True, kw_only=True)
class Clock:
    """`boot` names the machine's present boot: `up` of two boots cannot be compared."""

    boot: str
    wall: Callable[[], float] = time.time
    up: Callable[[], float] = up_s

    @classmethod
    def of_this_machine(cls) -> Clock:
        return cls(boot=read_boot_id())

    def now(self) -> Stamp:
        return Stamp(self.wall(), self.up())

    @property
    def offset_s(self) -> float:
        """What to add to `up` for the time of day, as the device knows it now."""
        return self.wall() - self.up()
