"""What a handful of measurements say together: middles, percentiles, how sure a middle is."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Final

CONFIDENCE: Final = 0.95


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of `values` are, straight between neighbors (type 7 of Hyndman and Fan,
    1996, as numpy does it). Raises `ValueError` for no values."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    place = min(max(share, 0.0), 1.0) * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def median_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Where the median of what `values` were drawn from lies, with `confidence`; for any distribution.

    The sign test turned around (Conover, Practical Nonparametric Statistics, 3.2): the ranks that a binomial of one
    half falls below with a probability of at most (1 - confidence) / 2. For fewer than six values it is the smallest
    and the largest, and less sure than asked. Raises `ValueError` for no values.
    """
    if not values:
        raise ValueError("no values")
    ordered, count = sorted(values), len(values)
    tail, rank = 0.0, 0
    while rank < count // 2:
        tail += math.comb(count, rank) / 2**count
        if tail > (1 - confidence) / 2:
            break
        rank += 1
    low = max(rank - 1, 0)
    return ordered[low], ordered[count - 1 - low]


def relative_spread(values: Sequence[float]) -> float:
    """Half the distance of the quartiles over the median; 0 for a single value, or a median of 0."""
    middle = statistics.median(values)
    if len(values) < 2 or middle == 0:
        return 0.0
    return (percentile(values, 0.75) - percentile(values, 0.25)) / 2 / abs(middle)


def turn_ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Ratios of turns taken A B A B ... A: each of `theirs` against the geometric mean of our turns before and after
    it, so that a machine that slows down steadily favors nobody. `ours` may lack the last turn; then the last ratio is
    against the one before. A turn that measured nothing is left out by both callers' turn number: pass equal turns."""
    ratios = []
    for number, other in enumerate(theirs):
        around = ours[number : number + 2]
        if around and other > 0 and all(value > 0 for value in around):
            ratios.append(math.prod(around) ** (1 / len(around)) / other)
    return ratios
