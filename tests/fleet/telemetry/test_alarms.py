from __future__ import annotations

import pytest

from agent.fleet.telemetry.alarms import Alarm, Rule, Turn, step

HOT = Rule(name="hot", reading="t", severity="major", raise_at=80, clear_at=75, raise_s=30, clear_s=60)
LOW = Rule(name="low", reading="m", severity="major", below=True, raise_at=5, clear_at=10)
QUIET, UP = Alarm(), Alarm(raised=True)


@pytest.mark.parametrize(
    ("rule", "alarm", "value", "now", "after", "turn"),
    [
        (HOT, QUIET, 79.9, 0, QUIET, None),
        (HOT, QUIET, 80, 0, Alarm(since=0), None),
        (HOT, Alarm(since=0), 85, 29, Alarm(since=0), None),
        (HOT, Alarm(since=0), 85, 30, UP, Turn.RAISED),
        (HOT, Alarm(since=0), 79, 29, QUIET, None),
        (HOT, Alarm(since=0), None, 40, QUIET, None),
        (HOT, UP, 77, 50, UP, None),  # between the limits
        (HOT, UP, 75, 50, UP, None),
        (HOT, UP, 74, 50, Alarm(True, 50), None),
        (HOT, Alarm(True, 50), 74, 110, QUIET, Turn.CLEARED),
        (HOT, Alarm(True, 50), 76, 100, UP, None),
        (HOT, UP, None, 100, UP, None),
        (LOW, QUIET, 5, 0, QUIET, None),
        (LOW, QUIET, 4.9, 0, UP, Turn.RAISED),
        (LOW, UP, 9.9, 0, UP, None),
        (LOW, UP, 10, 0, QUIET, Turn.CLEARED),
    ],
)
def test_a_reading(rule: Rule, alarm: Alarm, value: float | None, now: float, after: Alarm, turn: Turn | None) -> None:
    assert step(rule, alarm, value, now) == (after, turn)


def test_a_value_that_flutters_around_a_limit_makes_one_alarm() -> None:
    alarm, turns = Alarm(), []
    for second in range(0, 3600, 5):
        alarm, turn = step(HOT, alarm, 80 + (1 if second // 60 % 2 else -1), second)
        turns += [turn] if turn else []
    assert turns == [Turn.RAISED]


def test_limits_that_contradict() -> None:
    with pytest.raises(ValueError, match="hot"):
        Rule(name="hot", reading="t", severity="major", raise_at=80, clear_at=81)
