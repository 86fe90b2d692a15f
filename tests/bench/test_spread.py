from __future__ import annotations

import random
import statistics

import pytest

from agent.bench.spread import median_interval, percentile, relative_spread, turn_ratios


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([3.0], 0.99, 3.0),
        ([1.0, 2.0], 0.5, 1.5),
        ([4.0, 1.0, 3.0, 2.0], 0.0, 1.0),
        ([4.0, 1.0, 3.0, 2.0], 1.0, 4.0),
        ([float(n) for n in range(101)], 0.95, 95.0),
        ([1.0, 2.0, 3.0, 4.0], 0.25, 1.75),  # numpy.percentile([1, 2, 3, 4], 25)
    ],
)
def test_percentiles(values: list[float], share: float, expected: float) -> None:
    assert percentile(values, share) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("count", "ranks"),
    # Table A4 of Conover, and scipy.stats.binom.ppf(0.025, n, 0.5): the n-th smallest, counted from 0.
    [(1, (0, 0)), (5, (0, 4)), (6, (0, 5)), (9, (1, 7)), (10, (1, 8)), (25, (7, 17)), (100, (39, 60))],
)
def test_the_interval_of_a_median_is_that_of_the_sign_test(count: int, ranks: tuple[int, int]) -> None:
    assert median_interval([float(n) for n in range(count)]) == ranks


def test_the_interval_covers_the_median_as_often_as_it_says() -> None:
    draw = random.Random(5)
    inside = 0
    for _ in range(2000):
        low, high = median_interval([draw.expovariate(1.0) for _ in range(25)])
        inside += low <= 0.6931 <= high
    assert 0.94 <= inside / 2000 <= 0.985


def test_the_spread_of_repeats() -> None:
    assert relative_spread([5.0]) == 0.0
    assert relative_spread([0.0, 0.0]) == 0.0
    assert relative_spread([8.0, 9.0, 10.0, 11.0, 12.0]) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ([2.0, 2.0, 2.0], [1.0, 1.0], [2.0, 2.0]),
        ([2.0, 2.0], [1.0, 1.0], [2.0, 2.0]),
        ([2.0, 0.0, 2.0, 2.0], [1.0, 1.0, 4.0], [0.5]),  # a turn without a figure spoils its neighbors
        ([1.0, 1.0], [0.0], []),
        ([], [], []),
    ],
)
def test_ratios_of_turns(ours: list[float], theirs: list[float], expected: list[float]) -> None:
    assert turn_ratios(ours, theirs) == pytest.approx(expected)


def test_a_machine_that_slows_down_steadily_favors_nobody() -> None:
    speeds = [100 * 0.99**turn for turn in range(41)]
    assert turn_ratios(speeds[0::2], speeds[1::2]) == pytest.approx([1.0] * 20)
    naive = [one / other for one, other in zip(speeds[0::2], speeds[1::2], strict=False)]
    assert statistics.median(naive) > 1.01
