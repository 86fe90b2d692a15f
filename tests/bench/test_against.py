from __future__ import annotations

import pytest

from agent.bench.against import LOADS, pairing_of

BY_NAME = {load.only: load for load in LOADS}


def test_more_than_1_is_ours_ahead_also_where_less_is_better() -> None:
    speed = pairing_of(BY_NAME["generate"], [20.0, 20.0, 20.0], [10.0, 10.0])
    wait = pairing_of(BY_NAME["first-token"], [0.2, 0.2, 0.2], [0.1, 0.1])
    assert speed is not None
    assert wait is not None
    assert (speed.median, wait.median) == pytest.approx((2.0, 0.5))


def test_turns_without_a_figure_are_left_out() -> None:
    found = pairing_of(BY_NAME["generate"], [10.0, 0.0, 10.0, 10.0], [10.0, 10.0, 10.0])
    assert found is not None
    assert (found.ratios, found.ours) == ([1.0], [10.0, 10.0, 10.0])
    assert pairing_of(BY_NAME["generate"], [0.0, 0.0], [1.0]) is None
