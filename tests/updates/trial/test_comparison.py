"""Too slow, or only held up."""

from __future__ import annotations

import math

import pytest

from agent.updates.trial.comparison import Comparison, compare

FAST_ENOUGH, HELD_UP, TOO_SLOW = Comparison.FAST_ENOUGH, Comparison.HELD_UP, Comparison.TOO_SLOW


@pytest.mark.parametrize(
    ("rate_per_s", "most_rate_per_s", "found"),
    [
        (20.0, None, FAST_ENOUGH),
        (10.0, None, FAST_ENOUGH),
        (9.9, None, TOO_SLOW),
        (9.0, 9.9, TOO_SLOW),
        (9.0, 10.0, HELD_UP),
        (0.001, math.inf, HELD_UP),
        (10.0, math.inf, FAST_ENOUGH),
        (0.0, 0.0, TOO_SLOW),
    ],
)
def test_at_least_half_of_20_a_second_is_expected(
    rate_per_s: float, most_rate_per_s: float | None, found: Comparison
) -> None:
    assert compare(rate_per_s, most_rate_per_s, before_per_s=20.0, least_ratio=0.5) is found
