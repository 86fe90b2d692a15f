"""Samples against the clock: lost is lost, late is not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.speech.sample_clock import TOLERANCE_S, SampleClock

RATE = 48_000
BLOCK = 1536
BLOCK_S = BLOCK / RATE


def deliver(clock: SampleClock, begin_s: float, length_s: float, *, speed: float = 1.0) -> int:
    """Blocks in time over `length_s`; `speed` is that of the device's clock. What was found lost."""
    lost = 0
    for number in range(1, round(length_s * speed / BLOCK_S) + 1):
        lost += clock.feed(BLOCK, begin_s + number * BLOCK_S / speed)
    return lost


def test_regular_delivery_loses_nothing() -> None:
    assert deliver(SampleClock(RATE), 100.0, 60.0) == 0


@pytest.mark.parametrize("speed", [0.99, 0.9995, 1.0002, 1.01])
def test_a_device_whose_clock_drifts_loses_nothing(speed: float) -> None:
    assert deliver(SampleClock(RATE), 0.0, 600.0, speed=speed) == 0


@pytest.mark.parametrize("gap_s", [0.1, 0.5, 1.7, 3.0, 30.0])
def test_a_gap_is_reported_in_samples(gap_s: float) -> None:
    clock = SampleClock(RATE)
    lost = deliver(clock, 0.0, 10.0)
    lost += deliver(clock, 10.0 + gap_s, 10.0)
    assert lost == pytest.approx(gap_s * RATE, abs=2 * BLOCK)


@pytest.mark.parametrize("stall_s", [0.2, 0.9, 1.5, 3.0])
def test_blocks_that_were_held_back_are_not_lost(stall_s: float) -> None:
    clock = SampleClock(RATE)
    lost = deliver(clock, 0.0, 10.0)
    for _ in range(round(stall_s / BLOCK_S)):
        lost += clock.feed(BLOCK, 10.0 + stall_s)
    lost += deliver(clock, 10.0 + stall_s, 10.0)
    assert lost == 0


def test_a_device_that_is_late_at_first_loses_nothing() -> None:
    clock = SampleClock(RATE)
    lost = clock.feed(BLOCK, 0.0) + clock.feed(BLOCK, 1.9)
    lost += deliver(clock, 1.9, 10.0)
    assert lost == 0


def test_a_latency_that_changes_is_no_loss_by_the_clock_of_the_recording() -> None:
    clock = SampleClock(RATE)
    lost = 0
    for number in range(1, 2000):
        latency_s = 0.1 if number % 500 < 250 else 0.25
        lost += clock.feed(BLOCK, number * BLOCK_S + latency_s, (number - 1) * BLOCK_S)
    assert lost == 0


def test_a_recording_clock_that_jumps_alone_loses_nothing() -> None:
    clock = SampleClock(RATE)
    jumped = [clock.feed(BLOCK, n * BLOCK_S, (n - 1) * BLOCK_S + (0.5 if n > 100 else 0.0)) for n in range(1, 1000)]
    assert sum(jumped) == 0


@pytest.mark.parametrize("gap_s", [0.1, 0.7, 3.0])
def test_a_gap_by_both_clocks_is_reported_once(gap_s: float) -> None:
    clock = SampleClock(RATE)
    lost = 0
    for number in range(1, 1000):
        now = number * BLOCK_S + (gap_s if number > 400 else 0.0)
        lost += clock.feed(BLOCK, now, now - BLOCK_S)
    assert lost == pytest.approx(gap_s * RATE, abs=2 * BLOCK)


@given(st.lists(st.tuples(st.floats(2.0, 6.0), st.sampled_from([0.0, 0.3, 0.8, 2.5])), min_size=1, max_size=8))
@settings(max_examples=50, deadline=None)
def test_any_number_of_gaps(stretches: list[tuple[float, float]]) -> None:
    clock = SampleClock(RATE)
    now, lost, expected = 0.0, 0, 0.0
    for length_s, gap_s in stretches:
        lost += deliver(clock, now, length_s)
        now += round(length_s / BLOCK_S) * BLOCK_S + gap_s
        expected += gap_s
    lost += deliver(clock, now, 3.0)
    assert lost == pytest.approx(expected * RATE, abs=(len(stretches) + 1) * TOLERANCE_S * RATE)
