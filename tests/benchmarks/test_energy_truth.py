"""The truth that joules are held against, and when a process counts as leaking."""

from __future__ import annotations

from itertools import pairwise

import pytest

from benchmarks.leak_load import MIX, an_hour
from benchmarks.leak_rows import Course, Held, judge
from benchmarks.power_plant import PowerLog, shares

MIB = 2**20


def test_joules_between_two_moments_are_the_steps_times_their_watts() -> None:
    log = PowerLog([(0.0, 2.0), (10.0, 6.0), (14.0, 2.0)])
    assert log.joules(0.0, 20.0) == pytest.approx(20 + 24 + 12)
    assert log.joules(9.0, 11.0) == pytest.approx(2 + 6)
    assert log.joules(-5.0, 1.0) == pytest.approx(2)
    assert log.above(2.0) == [(10.0, 14.0)]


def test_who_runs_together_shares_equally_and_all_shares_are_what_was_drawn() -> None:
    log = PowerLog([(0.0, 2.0), (1.0, 6.0), (8.0, 2.0)])
    spans = [(1.0, 8.0), (2.0, 4.0), (3.0, 5.0)]
    found = shares(log, spans)
    assert found == pytest.approx([6 * (1 + 1 / 2 + 1 / 3 + 1 / 2 + 3), 6 * (1 / 2 + 1 / 3), 6 * (1 / 3 + 1 / 2)])
    assert sum(found) == pytest.approx(log.joules(1.0, 8.0))
    assert shares(log, [(1.0, 2.0), (4.0, 5.0)]) == pytest.approx([6, 6])  # what lies between is nobody's


def test_an_hour_is_a_request_each_ten_seconds_in_an_order_of_its_own() -> None:
    assert sum(MIX.values()) == 360
    hours = [an_hour(number) for number in range(3)]
    assert all(sorted(one) == sorted(other) and one != other for one, other in pairwise(hours))
    assert an_hour(1) == hours[1]


def course(*resident_mib: float, descriptors: int = 30, last_descriptors: int = 30, last_pid: int = 7) -> Course:
    last = len(resident_mib) - 1
    return Course(
        name="daemon",
        held=tuple(
            Held(
                pid=last_pid if number == last else 7,
                resident_bytes=round(mib * MIB),
                own_bytes=0,
                descriptors=last_descriptors if number == last else descriptors,
                threads=4,
            )
            for number, mib in enumerate(resident_mib)
        ),
    )


@pytest.mark.parametrize(
    ("found", "passed"),
    [
        pytest.param(course(100, 101, 102.9, 100), [True, True], id="steady"),
        pytest.param(course(100, 101, 102, 103.1), [False, True], id="grew"),
        pytest.param(course(100, 104, 100, 100), [False, True], id="grew for a while"),
        pytest.param(course(100, 100, 100, 100, last_descriptors=31), [True, False], id="one descriptor more"),
        pytest.param(course(100, 100, last_pid=8), [False, True], id="another process in its place"),
    ],
)
def test_what_counts_as_a_leak(found: Course, passed: list[bool]) -> None:
    assert [row.passed for row in judge(found)] == passed


def test_the_trend_is_bytes_an_hour() -> None:
    assert course(100, 101, 102, 103).trend() == pytest.approx(MIB)
    assert course(100, 100).trend() == 0
