"""When a version is too slow to replace another: one rule, for the quiet moments of a trial and for load on probation.
Decisions only."""

from __future__ import annotations

from enum import Enum


class Comparison(Enum):
    """Of what a new version makes with what the one before made."""

    FAST_ENOUGH = "fast enough"
    HELD_UP = "held up"
    """Too little, but other programs may be to blame: this says nothing."""
    TOO_SLOW = "too slow"


def compare(rate_per_s: float, most_rate_per_s: float | None, *, before_per_s: float, least_ratio: float) -> Comparison:
    """At least `least_ratio` of `before_per_s` is expected, which is above 0. `most_rate_per_s` is what the new version
    might make if no other program wanted the processors, where this is known; a version is too slow only where that
    would be too little as well."""
    least_per_s = least_ratio * before_per_s
    if rate_per_s >= least_per_s:
        return Comparison.FAST_ENOUGH
    if most_rate_per_s is not None and most_rate_per_s >= least_per_s:
        return Comparison.HELD_UP
    return Comparison.TOO_SLOW
