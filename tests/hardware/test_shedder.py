"""When work is turned away for want of memory: as tables, and never back and forth."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.hardware.shedder import CALM_S, FIRST_RETRY_S, LONGEST_RETRY_S, Shedder, Strain, Verdict, calm, trouble


def look(
    now_s: float,
    stall: float | None = 0.0,
    standstill: float | None = 0.0,
    faults_per_s: float = 0.0,
    reread_mb: float = 0.0,
) -> Strain:
    return Strain(
        now_s=now_s,
        stall_percent=stall,
        standstill_percent=standstill,
        faults_per_s=faults_per_s,
        reread_bytes_per_s=reread_mb * 1e6,
    )


BAD = (60.0, 30.0, 200.0)
GOOD = (1.0, 0.0, 0.0)


def run(shedder: Shedder, seconds: float, values: tuple[float, float, float], *, start_s: float = 0.0) -> Verdict:
    verdict = Verdict()
    now_s = start_s
    while now_s < start_s + seconds:
        verdict = shedder.advance(look(now_s, *values))
        now_s += 2.0
    return verdict


@pytest.mark.parametrize(
    ("stall", "standstill", "faults_per_s", "words"),
    [
        (0.0, 0.0, 0.0, ""),
        (30.0, 10.0, 500.0, ""),  # a fast disk: many faults, little waiting
        (60.0, 10.0, 0.0, ""),  # others wait for memory, our models do not
        (60.0, 10.0, 50.0, "models waited for memory 60% of the last 10 s"),
        (60.0, 25.0, 0.0, "everything here waited for memory 25% of the last 10 s"),
        (None, None, 100.0, ""),
        (None, None, 400.0, "models wait for the disk 400 times a second"),
    ],
)
def test_what_counts_as_trouble(stall: float | None, standstill: float | None, faults_per_s: float, words: str) -> None:
    assert trouble(look(0.0, stall, standstill, faults_per_s)) == words


@pytest.mark.parametrize(
    ("stall", "reread_mb", "bad", "quiet"),
    [
        (12.0, 90.0, True, False),  # measured: weights that do not fit
        (None, 40.0, True, False),  # an SD card, without pressure information
        (2.0, 5.0, False, False),
        (2.0, 0.5, False, True),
    ],
)
def test_weights_that_are_read_again_and_again(stall: float | None, reread_mb: float, bad: bool, quiet: bool) -> None:
    strain = look(0.0, stall, stall, reread_mb=reread_mb)
    assert (bool(trouble(strain)), calm(strain)) == (bad, quiet)


@pytest.mark.parametrize(
    ("stall", "standstill", "faults_per_s", "expected"),
    [
        (10.0, 2.0, 0.0, True),
        (20.0, 2.0, 0.0, False),
        (10.0, 8.0, 0.0, False),
        (None, None, 10.0, True),
        (None, None, 100.0, False),
    ],
)
def test_what_counts_as_calm(
    stall: float | None, standstill: float | None, faults_per_s: float, expected: bool
) -> None:
    assert calm(look(0.0, stall, standstill, faults_per_s)) is expected


def test_one_bad_look_is_nothing_and_two_turn_work_away() -> None:
    shedder = Shedder()
    assert not shedder.advance(look(0.0, *BAD)).shed
    verdict = shedder.advance(look(2.0, *BAD))
    assert (verdict.shed, verdict.retry_after_s, verdict.clear) == (True, FIRST_RETRY_S, False)
    assert verdict.reason == "everything here waited for memory 30% of the last 10 s"


def test_it_ends_when_it_was_calm_for_a_while_and_not_before() -> None:
    shedder = Shedder()
    assert run(shedder, 10, BAD).shed
    assert run(shedder, CALM_S, GOOD, start_s=10).shed
    assert run(shedder, 4, (25.0, 10.0, 0.0), start_s=20).shed  # neither good nor bad
    assert run(shedder, CALM_S, GOOD, start_s=24).shed
    assert not run(shedder, 4, GOOD, start_s=34).shed


def test_a_relapse_waits_twice_as_long_up_to_a_minute() -> None:
    shedder, waits, now_s = Shedder(), [], 0.0
    for _ in range(5):
        waits.append(run(shedder, 10, BAD, start_s=now_s).retry_after_s)
        run(shedder, 20, GOOD, start_s=now_s + 10)
        now_s += 30
    assert waits == [10.0, 20.0, 40.0, LONGEST_RETRY_S, LONGEST_RETRY_S]
    assert run(shedder, 10, BAD, start_s=now_s + 1000).retry_after_s == FIRST_RETRY_S


def test_what_lasts_has_idle_models_unloaded() -> None:
    shedder = Shedder()
    assert not run(shedder, 6, BAD).clear
    assert run(shedder, 6, BAD, start_s=6).clear


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100), st.floats(0, 1000)), min_size=2, max_size=200))
def test_whatever_is_measured_it_does_not_flutter(values: list[tuple[float, float, float]]) -> None:
    shedder = Shedder()
    verdicts = [shedder.advance(look(2.0 * number, *each)) for number, each in enumerate(values)]
    begun = [number for number, (one, other) in enumerate(pairwise(verdicts)) if other.shed and not one.shed]
    assert all(2.0 * (later - earlier) >= CALM_S for earlier, later in pairwise(begun))
    assert all(bool(one.reason) == one.shed and (one.retry_after_s > 0) == one.shed for one in verdicts)
