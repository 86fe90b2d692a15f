"""Learns whether the board throttles with a hysteresis: down at one temperature, and up again only far below it.

Such throttling costs more than heat does, because the board stays slow while it is cool again; holding it just below
the trip point is faster. Throttling that ends where it began (a Raspberry Pi's) is left alone.
"""

from __future__ import annotations

from typing import Final

DEEP_CELSIUS: Final = 3.0
"""Still throttled this far below where it began: flags and temperature are read a moment apart, which explains less."""
MARGIN_CELSIUS: Final = 2.0


class Trip:
    """Call `advance` at every look. It remembers the lowest trip point that it saw."""

    def __init__(self) -> None:
        self.below_celsius: float | None = None
        """Hold the board below this; None as long as nothing says so."""
        self._free = False
        self._began: float | None = None

    def advance(self, celsius: float, *, throttled: bool, busy: bool) -> float | None:
        """`below_celsius`, with what this look has shown.

        Only throttling that was seen to begin counts, and only while work goes on: a board that rests cools anyway.
        """
        if not throttled or not busy:
            self._free, self._began = not throttled, None
        elif self._free:
            self._free, self._began = False, celsius
        elif self._began is not None and celsius <= self._began - DEEP_CELSIUS:
            below = self._began - MARGIN_CELSIUS
            self.below_celsius = below if self.below_celsius is None else min(self.below_celsius, below)
            self._began = None
        return self.below_celsius
