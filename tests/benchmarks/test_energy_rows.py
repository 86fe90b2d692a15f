"""When the benchmark of energy says that what a request was told is right."""

from __future__ import annotations

import pytest

from benchmarks.energy.rows import Bill, judge, together


@pytest.mark.parametrize(
    ("told", "passed"),
    [
        pytest.param(12.0, True, id="right"),
        pytest.param(12.0 * 1.019, True, id="a little much"),
        pytest.param(12.0 * 1.05, False, id="a twentieth too much"),
        pytest.param(12.0 * 0.97, False, id="too little"),
        pytest.param(None, False, id="nothing was told"),
    ],
)
def test_a_bill_is_right_within_2_percent(told: float | None, passed: bool) -> None:
    (row,) = judge("constant", [Bill("40 s of sound", told, 12.0)])
    assert row.passed is passed


def test_a_bill_for_several_is_none_where_one_of_them_was_told_nothing() -> None:
    assert together("three", [1.0, 2.0, 1.5], 4.5).error == 0
    assert together("three", [1.0, None, 1.5], 4.5).told is None
