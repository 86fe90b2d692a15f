from __future__ import annotations

from itertools import pairwise

import pytest

from agent.fleet.telemetry import pace
from agent.fleet.telemetry.pace import (
    BURST,
    BURST_EVERY_S,
    DOUBT_S,
    FIRST_BYTES,
    LATE_S,
    SMALLEST_BYTES,
    SOON_S,
    Burst,
    Pace,
)

KB = 1024
LIMIT_BYTES = 120 * KB


def after(*messages: tuple[int, float], limit_bytes: int = LIMIT_BYTES) -> Pace:
    """Messages of so many bytes that took so many seconds."""
    found = pace.begun(limit_bytes)
    for size_bytes, took_s in messages:
        found = pace.arrived(found, size_bytes, took_s, now=0)
    return found


@pytest.mark.parametrize(
    ("messages", "size_bytes"),
    [
        ([], FIRST_BYTES),
        ([(32 * KB, 0.01)], 64 * KB),
        ([(32 * KB, 0.01), (64 * KB, 0.01)], LIMIT_BYTES),
        ([(32 * KB, 0.01), (64 * KB, 0.01), (LIMIT_BYTES, 0.01)], LIMIT_BYTES),
        ([(300, 0.01)] * 10, FIRST_BYTES),
        ([(32 * KB, SOON_S + 0.1)] * 3, 32 * KB),
        ([(32 * KB, LATE_S + 1)], 16 * KB),
        ([(20 * KB, LATE_S + 1)], 10 * KB),
        ([(32 * KB, LATE_S + 1)] * 2 + [(16 * KB, LATE_S + 1)] * 5, SMALLEST_BYTES),
        ([(300, LATE_S + 1)], SMALLEST_BYTES),
        ([(32 * KB, LATE_S + 1), (16 * KB, 0.1)], 32 * KB),
    ],
)
def test_larger_while_they_arrive_soon_and_smaller_when_late(
    messages: list[tuple[int, float]], size_bytes: int
) -> None:
    assert after(*messages).size_bytes == size_bytes


def test_a_line_that_was_slow_for_a_while_comes_up_to_the_doubt_again() -> None:
    found = pace.lost(after((32 * KB, 0.01), (64 * KB, 0.01)), 100 * KB + 1, now=0)
    for _ in range(3):
        found = pace.arrived(found, found.size_bytes, LATE_S + 1, now=0)
    assert found.size_bytes == SMALLEST_BYTES
    for _ in range(5):
        found = pace.arrived(found, found.size_bytes, 0.01, now=0)
    assert found.size_bytes == 50 * KB


@pytest.mark.parametrize("limit_bytes", [1, 1000, SMALLEST_BYTES])
def test_never_larger_than_the_limit(limit_bytes: int) -> None:
    small = after((limit_bytes, 0.01), (limit_bytes, LATE_S + 1), (limit_bytes, 0.01), limit_bytes=limit_bytes)
    assert small.size_bytes == limit_bytes
    assert pace.lost(small, limit_bytes, now=0).size_bytes == limit_bytes


def test_what_a_connection_ended_with_is_not_tried_again_for_a_while() -> None:
    found = after((32 * KB, 0.01), (64 * KB, 0.01))
    for _ in range(3):  # one of each type was on its way
        found = pace.lost(found, LIMIT_BYTES, now=0)
    for _ in range(5):
        found = pace.arrived(found, found.size_bytes, 0.01, now=DOUBT_S - 1)
        assert found.size_bytes == 60 * KB
    assert pace.arrived(found, found.size_bytes, 0.01, now=DOUBT_S).size_bytes == LIMIT_BYTES


def test_short_messages_are_not_why_a_connection_ends() -> None:
    found = pace.begun(LIMIT_BYTES)
    assert pace.lost(found, 300, now=0) == found


@pytest.mark.parametrize("took_s", [0.001, 0.1, 0.3, 2.0])
def test_bursts_and_pauses(took_s: float) -> None:
    """However long a message takes, no more than a burst in a second."""
    burst, now = Burst(), 5.0
    began: list[float] = []
    while len(began) < 5 * BURST:
        now += pace.wait_s(burst, now=now)
        burst = pace.sent(burst, now=now)
        began.append(now)
        now += took_s
    waited = [later - now - took_s for now, later in pairwise(began)]
    assert all(began[at + BURST] - began[at] >= BURST_EVERY_S - 1e-6 for at in range(0, 4 * BURST, BURST))
    if took_s * BURST < BURST_EVERY_S:
        assert all((wait > 1e-6) == (number % BURST == 0) for number, wait in enumerate(waited, 1))
    else:
        assert max(waited) < 1e-6
