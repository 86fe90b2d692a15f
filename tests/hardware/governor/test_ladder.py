"""The order in which the board slows down."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.hardware.governor.ladder import Rung, build


def test_four_threads_without_a_clock() -> None:
    ladder = build(4, 2)
    assert [(rung.threads, rung.threads_batch, rung.pause_ratio) for rung in ladder.rungs] == [
        (4, 2, 0.0), (4, 2, 0.02), (4, 2, 0.05), (4, 2, 0.12), (3, 2, 0.0), (3, 2, 0.12), (2, 1, 0.0),
        (2, 1, 0.1), (2, 1, 0.25), (2, 1, 0.5), (2, 1, 1.0), (2, 1, 2.0), (2, 1, 4.0),
    ]  # fmt: skip
    assert (ladder.efficient, ladder.lowest_clock, ladder.slowest_threads) == (0, 0, 6)
    assert all(rung.max_mhz is None for rung in ladder.rungs)


def test_the_clock_goes_first_and_stays_low() -> None:
    ladder = build(2, 2, [1500, 2400, 2000, 2000])
    assert [rung.max_mhz for rung in ladder.rungs[:4]] == [2400, 2000, 1500, 1500]
    assert ladder.rungs[ladder.efficient] == Rung(threads=2, threads_batch=2, max_mhz=1500)
    assert ladder.rungs[ladder.slowest_threads] == Rung(threads=1, threads_batch=1, max_mhz=1500)


@pytest.mark.parametrize(
    ("found", "steps", "efficient"),
    [
        pytest.param(range(1500, 2401, 100), [2400, 2200, 2000, 1900, 1700, 1500], 1500, id="pi 5"),
        pytest.param(range(600, 1801, 100), [1800, 1700, 1500, 1400, 1200, 1100, 900, 600], 1100, id="pi 4"),
        pytest.param(range(600, 2401, 100), [2400, 2200, 2000, 1900, 1700, 1500, 1100, 600], 1500, id="down to 600"),
        pytest.param([2400, 1000], [2400, 1000], 2400, id="nothing between that saves"),
        pytest.param([2400], [2400], 2400, id="one"),
    ],
)
def test_clocks_are_close_where_they_cost_little_and_end_where_the_voltage_falls_no_further(
    found: Sequence[int], steps: list[int], efficient: int
) -> None:
    ladder = build(1, 1, found)
    assert [rung.max_mhz for rung in ladder.rungs[: ladder.lowest_clock + 1]] == steps
    assert ladder.rungs[ladder.efficient].max_mhz == efficient


def test_one_thread_has_only_pauses_and_none_is_an_error() -> None:
    assert {rung.threads for rung in build(1, 1).rungs} == {1}
    with pytest.raises(ValueError):
        build(0, 1)


@given(st.integers(1, 256), st.integers(1, 256), st.lists(st.integers(100, 6000), max_size=40))
def test_every_ladder_slows_down_step_by_step(threads: int, batch: int, clocks: list[int]) -> None:
    ladder = build(threads, batch, clocks)
    rungs = ladder.rungs
    assert (rungs[0].threads, rungs[0].threads_batch, rungs[0].pause_ratio) == (threads, batch, 0.0)
    assert len(rungs) <= 25
    assert 0 <= ladder.efficient <= ladder.lowest_clock <= ladder.slowest_threads < len(rungs) - 1
    for rung in rungs:
        assert 1 <= rung.threads <= threads
        assert 1 <= rung.threads_batch <= batch
    speed = [(rung.max_mhz or 1) * rung.threads for rung in rungs]
    assert speed == sorted(speed, reverse=True)
    assert rungs[-1].threads >= threads / 2
