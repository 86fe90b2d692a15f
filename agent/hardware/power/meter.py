"""What a power meter of a board is: read now and then, it says watts, joules counted up, or both.

A meter that cannot be read raises `UnavailableError` with the reason and what to do; it never guesses.
`agent.hardware.sensors.power.PowerMeter` is what telemetry wants; `EnergySampler` is one, over any of these.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Protocol

from agent.errors import UnavailableError

MOST_WATTS: Final = 5000.0
"""No machine that this runs on draws more; a larger number is a broken sensor."""


@dataclass(frozen=True, kw_only=True)
class PowerSample:
    """One reading at `at_s` (monotonic seconds). `joules` counts from any beginning and never goes back. It took
    `took_s`: the watts are those of some moment in that time."""

    at_s: float
    watts: float | None = None
    joules: float | None = None
    took_s: float = 0.0


class Meter(Protocol):
    @property
    def source(self) -> str:
        """What is read, in words: `INA3221, rail VDD_IN`."""
        ...

    @property
    def scope(self) -> str:
        """What the watts cover: the whole board, the processor, the graphics card."""
        ...

    @property
    def quick(self) -> bool:
        """Whether a reading takes milliseconds, so that one can be taken as a request ends."""
        ...

    def read(self, now_s: float) -> PowerSample:
        """Read at `now_s`. Blocks. Raises `UnavailableError` where it cannot."""
        ...


def plausible(watts: float, source: str) -> float:
    """`watts`, or `UnavailableError` for what no board draws."""
    if not math.isfinite(watts) or not 0 <= watts <= MOST_WATTS:
        raise UnavailableError(f"{source} says {watts:g} W, which cannot be.", hint="Energy is not counted from it.")
    return watts
