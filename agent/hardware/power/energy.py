"""Energy out of samples: differences of a counter, or the trapezoids between readings of watts. Decisions only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from agent.hardware.power.meter import PowerSample

LONGEST_GAP_S: Final = 15.0
"""Between two readings of watts further apart nothing is known: the time counts as missing, not as a straight line."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """What passed between two samples. `joules` is None where that is not known; the watts are those at its ends,
    None where the energy comes from a counter, which knows more than they do. Reading those at the beginning, and those
    at the end, took `begin_took_s` and `end_took_s` from then on."""

    begin_s: float
    end_s: float
    joules: float | None
    begin_watts: float | None = None
    end_watts: float | None = None
    begin_took_s: float = 0.0
    end_took_s: float = 0.0

    @property
    def duration_s(self) -> float:
        return self.end_s - self.begin_s


class Integrator:
    """Makes intervals of samples. A counter bridges any gap; a gap in the watts does not."""

    def __init__(self, longest_gap_s: float = LONGEST_GAP_S) -> None:
        self._longest_gap_s = longest_gap_s
        self._last: PowerSample | None = None

    def add(self, sample: PowerSample) -> Interval | None:
        """The interval that ends with `sample`; None for the first one and for one that is not newer than the last."""
        last = self._last
        if last is not None and sample.at_s <= last.at_s:
            return None
        self._last = sample
        return None if last is None else self._between(last, sample)

    def _between(self, one: PowerSample, other: PowerSample) -> Interval:
        begin_s, end_s = one.at_s, other.at_s
        if one.joules is not None and other.joules is not None:
            counted = other.joules - one.joules
            return Interval(begin_s=begin_s, end_s=end_s, joules=counted if counted >= 0 else None)
        if one.watts is None or other.watts is None or end_s - begin_s > self._longest_gap_s:
            return Interval(begin_s=begin_s, end_s=end_s, joules=None)
        return Interval(
            begin_s=begin_s,
            end_s=end_s,
            joules=(one.watts + other.watts) / 2 * (end_s - begin_s),
            begin_watts=one.watts,
            end_watts=other.watts,
            begin_took_s=one.took_s,
            end_took_s=other.took_s,
        )


class IdlePower:
    """What the board draws while no request runs: given, or learned from the intervals in which none did."""

    _WEIGHT: Final = 0.2

    def __init__(self, known_watts: float = 0.0) -> None:
        """`known_watts`: 0 where it is to be learned."""
        self._known = known_watts > 0
        self.watts: float | None = known_watts if self._known else None

    def learn(self, interval: Interval) -> None:
        """`interval` passed without any work."""
        if self._known or interval.joules is None or interval.duration_s <= 0:
            return
        watts = interval.joules / interval.duration_s
        self.watts = watts if self.watts is None else self.watts + self._WEIGHT * (watts - self.watts)
