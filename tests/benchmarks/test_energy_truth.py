"""The truth that joules are held against, and when a process counts as leaking."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.energy.power_plant import PowerLog, PowerPlant, Work, clocks, shares, wants_a_core
from benchmarks.service.leak_load import MIX, an_hour
from benchmarks.service.leak_rows import Course, Held, judge

MIB = 2**20


def test_joules_between_two_moments_are_the_steps_times_their_watts() -> None:
    log = PowerLog([(0.0, 2.0), (10.0, 6.0), (14.0, 2.0)])
    assert log.joules(0.0, 20.0) == pytest.approx(20 + 24 + 12)
    assert log.joules(9.0, 11.0) == pytest.approx(2 + 6)
    assert log.joules(-5.0, 1.0) == pytest.approx(2)
    assert log.above(2.0, 0.0, 20.0) == [(10.0, 14.0)]
    assert log.above(2.0, 11.0, 13.0) == [(11.0, 13.0)]
    assert log.above(2.0, 15.0, 20.0) == []
    assert PowerLog([(0.0, 2.0), (10.0, 6.0)]).above(2.0, 5.0, 12.0) == [(10.0, 12.0)]  # it has not ended yet


def test_who_runs_together_shares_equally_and_all_shares_are_what_was_drawn() -> None:
    log = PowerLog([(0.0, 2.0), (1.0, 6.0), (8.0, 2.0)])
    spans = [(1.0, 8.0), (2.0, 4.0), (3.0, 5.0)]
    found = shares(log, spans)
    assert found == pytest.approx([6 * (1 + 1 / 2 + 1 / 3 + 1 / 2 + 3), 6 * (1 / 2 + 1 / 3), 6 * (1 / 3 + 1 / 2)])
    assert sum(found) == pytest.approx(log.joules(1.0, 8.0))
    assert shares(log, [(1.0, 2.0), (4.0, 5.0)]) == pytest.approx([6, 6])  # what lies between is nobody's


LOOKS = [
    # seconds since the last look, computed in them by two processes, whether one wants a core: then it computes
    pytest.param([(0.002, 0.0, 0.0, True)], [False], id="runs, and has done nothing yet"),
    pytest.param([(0.002, 0.002, 0.0, True)], [True], id="computes"),
    pytest.param([(0.002, 0.0003, 0.0, True)], [False], id="answers a ping"),
    pytest.param([(0.002, 0.0007, 0.0007, True)], [True], id="two of them, a part of a core each"),
    pytest.param(
        [(0.002, 0.002, 0.0, True), (0.002, 0.0, 0.0, False)], [True, False], id="has stopped at the next look"
    ),
    pytest.param(
        [(0.002, 0.002, 0.0, True), (0.02, 0.0, 0.0, True), (0.002, 0.002, 0.0, True)],
        [True, True, True],
        id="was pushed aside",
    ),
    pytest.param(
        [(0.002, 0.002, 0.0, True), (0.02, 0.0, 0.0, True), (0.002, 0.0, 0.0, False)],
        [True, True, False],
        id="was pushed aside and has stopped then",
    ),
]


@pytest.mark.parametrize(("looks", "computes"), LOOKS)
def test_the_board_draws_while_a_worker_computes_or_waits_for_a_core(
    looks: list[tuple[float, float, float, bool]], computes: list[bool]
) -> None:
    work = Work()
    now_s, used = 100.0, {7: 50.0, 8: 3.0}
    assert not work.look(now_s, used, lambda _: True)  # what they did before they were known does not count
    for (seconds, one_s, other_s, wants), expected in zip(looks, computes, strict=True):
        now_s += seconds
        used = {7: used[7] + one_s, 8: used[8] + other_s}
        assert work.look(now_s, used, lambda _, wants=wants: wants) is expected  # type: ignore[misc]


def looked_at(burst_s: float, begin_s: float, look_s: float = 0.0011) -> float:
    """How long the board would draw for a worker that computes with one thread for `burst_s` from `begin_s` on."""
    work, drawn_s = Work(), 0.0
    for number in range(round((begin_s + burst_s) / look_s) + 4):
        was, now_s = work.computes, number * look_s
        work.look(now_s, {7: min(max(now_s - begin_s, 0.0), burst_s)}, lambda _: False)
        drawn_s += look_s if was else 0.0
    return drawn_s


def test_the_truth_of_one_short_piece_may_be_2_percent_off_and_that_of_ten_is_not() -> None:
    rng = random.Random(1)
    tens = []
    singles: list[float] = []
    for _ in range(50):
        bursts = [rng.uniform(0.05, 0.08) for _ in range(10)]
        drawn = [looked_at(burst, 0.1 + rng.uniform(0, 0.0011)) for burst in bursts]
        singles += [one / burst - 1 for one, burst in zip(drawn, bursts, strict=True)]
        tens.append(sum(drawn) / sum(bursts) - 1)
    assert 0.01 < max(abs(error) for error in singles) < 0.025
    assert max(abs(error) for error in tens) < 0.007
    assert abs(sum(tens) / len(tens)) < 0.001  # it is as often too much as too little
    assert min(1.05 / (1 + error) - 1 for error in tens) > 0.03  # a twentieth too much still shows


def test_only_who_has_computed_is_asked_whether_it_wants_to_go_on() -> None:
    work, asked = Work(), []

    def wants(pids: Iterable[int]) -> bool:
        asked.append(set(pids))
        return False

    for now_s, used in ((1.0, {7: 50.0, 8: 3.0}), (1.001, {7: 50.001, 8: 3.0}), (1.002, {7: 50.001, 8: 3.0})):
        work.look(now_s, used, wants)
    assert asked == [{7}]


def test_a_worker_that_has_gone_and_one_that_has_come_in_its_place_did_not_compute() -> None:
    work = Work()
    for now_s, used in ((1.0, {7: 50.0}), (1.002, {}), (1.004, {9: 20.0})):
        assert not work.look(now_s, used, lambda _: False)


def test_the_board_sees_another_process_compute_and_stop(tmp_path: Path) -> None:
    waits = "import sys\nsys.stdin.readline()\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", waits], stdin=subprocess.PIPE, text=True) as worker:
        try:
            assert worker.stdin is not None
            with PowerPlant(tmp_path, lambda busy: 6.0 if busy else 2.0) as plant:
                wait_until(lambda: not wants_a_core([worker.pid]))  # it has started, and waits
                plant.pids = [worker.pid]
                worker.stdin.write("\n")
                worker.stdin.flush()
                wait_until(lambda: plant.log.steps[-1][1] == 6.0)
                assert (tmp_path / "watts").exists()
                worker.kill()
                wait_until(lambda: plant.log.steps[-1][1] == 2.0)
        finally:
            worker.kill()
    begin_s, end_s = plant.log.steps[0][0], plant.log.steps[-1][0]
    drawn = plant.joules_of_work(begin_s, end_s)
    assert drawn == pytest.approx(6 * sum(end - begin for begin, end in plant.work.above(0.0, begin_s, end_s)))
    assert 0 < drawn < plant.log.joules(begin_s, end_s)
    assert wants_a_core([worker.pid]) is False
    assert clocks([worker.pid]) == {}


def wait_until(what: Callable[[], bool]) -> None:
    limit = time.monotonic() + 30
    while not what():
        assert time.monotonic() < limit
        time.sleep(0.005)


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
