"""What a power meter is, whatever measures: the board's own chip, a driver's counter, a plug."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class PowerReading:
    """`energy_joules` counts from any beginning and never goes back; None where the meter only knows watts."""

    watts: float
    energy_joules: float | None = None


class PowerMeter(Protocol):
    def read(self) -> PowerReading | None:
        """None while it cannot be read. Takes milliseconds at most, and may be called from any thread."""
        ...
