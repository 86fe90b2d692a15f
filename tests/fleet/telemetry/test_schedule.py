from __future__ import annotations

from agent.fleet.telemetry.schedule import Schedule


def test_multiples_from_the_beginning_together_where_they_meet() -> None:
    schedule = Schedule({"a": 10, "b": 20, "never": 0}, began_at=100)
    seen = {now: due for now in range(100, 145) if (due := schedule.due(now))}
    assert seen == {100: ["a", "b"], 110: ["a"], 120: ["a", "b"], 130: ["a"], 140: ["a", "b"]}


def test_what_was_missed_is_not_made_up_for() -> None:
    schedule = Schedule({"a": 10}, began_at=0)
    assert schedule.due(0) == ["a"]
    assert schedule.wait_s(0) == 10
    assert schedule.due(57) == ["a"]
    assert schedule.due(57) == []
    assert schedule.wait_s(57) == 3


def test_what_is_hastened_is_due_at_once_and_then_as_before() -> None:
    schedule = Schedule({"a": 10, "never": 0}, began_at=0)
    schedule.due(0)
    schedule.hasten(13)
    assert schedule.wait_s(13) == 0
    assert schedule.due(13) == ["a"]
    assert schedule.wait_s(13) == 7


def test_nothing_is_ever_due() -> None:
    assert Schedule({"a": 0}, began_at=0).wait_s(5) is None
