"""Fewer threads while something else wants the cores."""

from __future__ import annotations

import itertools

import pytest

from agent.engines.llama.crowding import Crowding

CALM, SLOW, STALL, LONG_STALL = 0.021, 0.06, 0.2, 2.7


def run(crowding: Crowding, steps: list[float], *, start: float = 0.0) -> list[int]:
    now, threads = start, []
    for seconds in steps:
        now += seconds
        crowding.observe(expected_s=CALM, seconds=seconds, now=now)
        threads.append(crowding.threads)
    return threads


@pytest.mark.parametrize(
    ("name", "steps", "expected"),
    [
        ("calm", [CALM] * 5, [4] * 5),
        ("slower, but not stalled", [SLOW] * 20, [4] * 20),
        ("one stall alone", [STALL, *[CALM] * 4], [4] * 5),
        ("two stalls together", [STALL, STALL], [4, 3]),
        ("a long stall", [LONG_STALL], [3]),
        ("stalls go on: one thread less each time", [LONG_STALL] * 5, [3, 2, 1, 1, 1]),
    ],
)
def test_threads(name: str, steps: list[float], expected: list[int]) -> None:
    crowding = Crowding(4)
    crowding.observe(expected_s=CALM, seconds=CALM, now=0)
    assert run(crowding, steps) == expected, name


def test_all_threads_are_tried_again_ever_more_rarely() -> None:
    crowding, now, tries = Crowding(2), 0.0, []
    for _ in range(20_000):
        stalled = crowding.threads == 2
        now += LONG_STALL if stalled else CALM
        crowding.observe(expected_s=CALM, seconds=LONG_STALL if stalled else CALM, now=now)
        if stalled:
            tries.append(now)
    gaps = [b - a for a, b in itertools.pairwise(tries)]
    assert gaps[0] < 6
    assert max(gaps) < 66
    assert gaps[5:] == sorted(gaps[5:]) or max(gaps[5:]) - min(gaps[5:]) < 0.1


def test_calm_for_a_while_forgets_the_past() -> None:
    crowding = Crowding(2)
    run(crowding, [LONG_STALL])
    run(crowding, [CALM] * 1000, start=LONG_STALL)
    assert crowding.threads == 2
    assert run(crowding, [LONG_STALL, *[CALM] * 90], start=30.0)[-1] == 1
    assert run(crowding, [CALM] * 30, start=36.0)[-1] == 2


def test_small_models_stall_for_milliseconds_and_nobody_cares() -> None:
    crowding = Crowding(2)
    for i in range(50):
        assert not crowding.observe(expected_s=0.0002, seconds=0.003, now=float(i))
    assert crowding.threads == 2


def test_a_stall_teaches_nothing_about_the_model() -> None:
    assert Crowding(1).observe(expected_s=CALM, seconds=STALL, now=1.0)
    assert not Crowding(1).observe(expected_s=0.0, seconds=STALL, now=1.0)
