"""A counter of energy that wraps around, made into one that does not."""

from __future__ import annotations

from typing import Final

from agent.hardware.power.meter import MOST_WATTS

_SHORTEST_S: Final = 0.001


class Counter:
    """`range_joules` is where the counter starts again at 0; None where that is not known."""

    def __init__(self, range_joules: float | None) -> None:
        self._range_joules = range_joules
        self._last: tuple[float, float] | None = None
        self.joules = 0.0
        """Counted since the first reading."""

    def advance(self, value: float, now_s: float) -> float:
        """The counter shows `value` joules at `now_s`. Returns `joules`.

        A value below the last one is a wrap where that gives a power that can be; else the counter was reset (a
        driver was loaded anew, the machine slept) and what it missed stays uncounted.
        """
        if self._last is not None:
            before, then_s = self._last
            step = value - before
            if step < 0 and self._range_joules is not None:
                step += self._range_joules
            if 0 <= step <= MOST_WATTS * max(now_s - then_s, _SHORTEST_S):
                self.joules += step
        self._last = (value, now_s)
        return self.joules


class Speed:
    """Watts out of a counter: what was added since the reading before."""

    def __init__(self) -> None:
        self._last: tuple[float, float] | None = None

    def watts(self, joules: float, now_s: float) -> float | None:
        """None at the first reading, and where no time has passed."""
        last, self._last = self._last, (joules, now_s)
        if last is None or now_s - last[1] < _SHORTEST_S:
            return None
        return (joules - last[0]) / (now_s - last[1])
