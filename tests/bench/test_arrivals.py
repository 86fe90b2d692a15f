from __future__ import annotations

import statistics
from itertools import pairwise

import pytest

from agent.bench.arrivals import poisson_s


def test_the_same_seed_gives_the_same_times_and_another_does_not() -> None:
    # Fixed numbers: a seed means the same load on every machine and with every Python.
    assert poisson_s(2.0, 3, 1) == pytest.approx([0.072146, 1.012224, 1.733708], abs=1e-6)
    assert poisson_s(2.0, 50, 1) == poisson_s(2.0, 50, 1) != poisson_s(2.0, 50, 2)


def test_gaps_are_exponential_at_the_rate() -> None:
    times = poisson_s(4.0, 20_000, 7)
    gaps = [after - before for before, after in pairwise([0.0, *times])]
    assert min(gaps) > 0
    assert statistics.mean(gaps) == pytest.approx(0.25, rel=0.03)
    assert statistics.stdev(gaps) == pytest.approx(0.25, rel=0.03)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan")])
def test_a_rate_must_be_above_0(rate: float) -> None:
    with pytest.raises(ValueError):
        poisson_s(rate, 3, 1)
