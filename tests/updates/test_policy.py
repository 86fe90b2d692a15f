from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from agent.errors import ConfigError
from agent.updates.policy import Circumstances, Policy, Step, Terms, allowance, check_windows, decide, retry_s
from tests.updates.local import POLICY

WEDNESDAY = datetime(2026, 5, 20, 12, 0)


def at(text: str, **changes: Any) -> Circumstances:
    hour, minute = map(int, text.split(":"))
    return Circumstances(now=WEDNESDAY.replace(hour=hour, minute=minute), **changes)


def policy(*windows: str, **changes: Any) -> Policy:
    return replace(POLICY, windows=check_windows(windows), **changes)


@pytest.mark.parametrize(
    ("windows", "now", "reason"),
    [
        ([], "12:00", None),
        (["02:00-05:00"], "01:59", "window opens 02:00"),
        (["02:00-05:00"], "02:00", None),
        (["02:00-05:00"], "04:59", None),
        (["02:00-05:00"], "05:00", "window opens 02:00"),
        (["22:00-06:00"], "23:59", None),
        (["22:00-06:00"], "05:59", None),
        (["22:00-06:00"], "06:00", "window opens 22:00"),
        (["22:00 - 24:00"], "23:59", None),
        (["02:00-03:00", "13:00-14:00"], "12:00", "window opens 13:00"),
        (["wed 11:00-13:00"], "12:00", None),
        (["mon-fri 11:00-13:00"], "12:00", None),
        (["sat, sun 11:00-13:00"], "12:00", "window opens Sat 11:00"),
        (["sat sun 11:00-13:00"], "12:00", "window opens Sat 11:00"),
        (["mon - fri sun 11:00-13:00"], "12:00", None),
        (["fri-mon 11:00-13:00"], "12:00", "window opens Fri 11:00"),
        (["tue 23:00-04:00"], "03:00", None),
        (["wed 23:00-04:00"], "03:00", "window opens 23:00"),
        (["wed 11:00-12:00"], "12:00", "window opens Wed 11:00"),
        (["WED 11:00-13:00"], "12:00", None),
    ],
)
def test_hours(windows: list[str], now: str, reason: str | None) -> None:
    for step in (Step.FETCH, Step.TRY, Step.SWITCH):
        wait = decide(step, policy(*windows), at(now))
        assert (wait.reason if wait else None) == reason
        if wait is not None:
            assert wait.until is not None
            assert decide(step, policy(*windows), replace(at(now), now=wait.until)) is None


@pytest.mark.parametrize(
    "text", ["", "2-5", "25:00-26:00", "02:60-03:00", "02:00", "xyz 02:00-03:00", "02:00-02:00", "24:00-01:00"]
)
def test_hours_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="expected hours like 02:00-05:00") as caught:
        check_windows([text])
    assert caught.value.param == "updates.windows"


MB = 1_000_000


@pytest.mark.parametrize(
    ("step", "policy", "around", "missing_bytes", "reason"),
    [
        (Step.FETCH, policy(metered="yes", metered_bytes=5 * MB), at("12:00"), 5 * MB, None),
        (
            Step.FETCH,
            policy(metered="yes", metered_bytes=5 * MB),
            at("12:00"),
            6 * MB,
            "the link is metered: 6 MB are missing, 5 MB would be allowed",
        ),
        (Step.TRY, policy(metered="yes", metered_bytes=0), at("12:00"), 6 * MB, None),
        (Step.FETCH, policy(bytes_per_day=50 * MB), at("12:00", spent_bytes=50 * MB - 1), 99 * MB, None),
        (
            Step.FETCH,
            policy(bytes_per_day=50 * MB),
            at("12:00", spent_bytes=50 * MB),
            99 * MB,
            "the day's 50 MB are used up",
        ),
        (Step.SWITCH, policy(bytes_per_day=1), at("12:00", spent_bytes=2), 0, None),
        (Step.FETCH, policy(), at("12:00", battery_percent=29.0), 0, "the battery is at 29%, 30% are needed"),
        (
            Step.TRY,
            policy(),
            at("12:00", battery_percent=29.0, on_mains=False),
            0,
            "the battery is at 29%, 30% are needed",
        ),
        (Step.SWITCH, policy(), at("12:00", battery_percent=29.0, on_mains=True), 0, None),
        (Step.FETCH, policy(), at("12:00", battery_percent=30.0), 0, None),
        (Step.FETCH, policy(), at("12:00", speaking=True), 0, None),
        (Step.TRY, policy(), at("12:00", speaking=True), 0, "somebody is speaking"),
        (Step.SWITCH, policy(), at("12:00", speaking=True), 0, "somebody is speaking"),
        (Step.SWITCH, policy(while_speaking=True), at("12:00", speaking=True), 0, None),
        (
            Step.FETCH,
            policy("02:00-13:00"),
            at("12:00", clock_set=False),
            0,
            "the clock is not set, and updates have their hours",
        ),
        (Step.FETCH, policy(), at("12:00", clock_set=False), 0, None),
        (Step.RESOLVE, policy("02:00-03:00", metered="yes"), at("12:00", battery_percent=1.0), 9, None),
        (Step.RESOLVE, policy(bytes_per_day=1), at("12:00", spent_bytes=2), 9, None),
        (Step.FETCH, policy(metered="auto", metered_bytes=0), at("12:00"), 6 * MB, None),
        (Step.FETCH, policy(metered="auto", metered_bytes=0), at("12:00", metered=False), 6 * MB, None),
        (Step.FETCH, policy(metered="no", metered_bytes=0), at("12:00", metered=True), 6 * MB, None),
        (
            Step.FETCH,
            policy(metered="auto", metered_bytes=5 * MB),
            at("12:00", metered=True),
            6 * MB,
            "the link is metered (NetworkManager says so): 6 MB are missing, 5 MB would be allowed",
        ),
    ],
)
def test_what_holds_a_step_up(
    step: Step, policy: Policy, around: Circumstances, missing_bytes: int, reason: str | None
) -> None:
    wait = decide(step, policy, around, missing_bytes=missing_bytes)
    assert (wait.reason if wait else None) == reason


def test_what_is_urgent_waits_for_the_battery_and_for_who_speaks_only() -> None:
    strict = policy("02:00-03:00", metered="yes", metered_bytes=0, bytes_per_day=1)
    urgent = strict.under(Terms(urgent=True))
    assert decide(Step.FETCH, strict, at("12:00", spent_bytes=9), missing_bytes=9) is not None
    assert decide(Step.FETCH, urgent, at("12:00", spent_bytes=9), missing_bytes=9) is None
    assert allowance(urgent, at("12:00", spent_bytes=9)).bytes_left is None
    assert decide(Step.FETCH, urgent, at("12:00", battery_percent=1.0)) is not None
    assert decide(Step.SWITCH, urgent, at("12:00", speaking=True)) is not None


def test_terms_replace_the_settings_of_their_names() -> None:
    terms = Terms(attempts=1, speed_ratio=0.5, memory_ratio=3, probation_s=7, probation_requests=2)
    changed = POLICY.under(terms)
    assert changed.attempts == 1
    assert changed.limits == replace(
        POLICY.limits, speed_ratio=0.5, memory_ratio=3, probation_s=7, probation_requests=2
    )
    assert POLICY.under(Terms()) == POLICY


@pytest.mark.parametrize(
    ("per_day", "spent", "left"), [(None, 10, None), (100, 0, 100), (100, 40, 60), (100, 100, 0), (100, 500, 0)]
)
def test_what_is_left_of_the_day(per_day: int | None, spent: int, left: int | None) -> None:
    found = allowance(policy(bytes_per_day=per_day, bytes_per_s=7.0), at("12:00", spent_bytes=spent))
    assert (found.bytes_left, found.bytes_per_s) == (left, 7.0)


def test_pauses_double_up_to_a_cap_and_no_two_devices_come_back_at_once() -> None:
    slow = replace(POLICY, retry_first_s=10, retry_cap_s=100)
    assert [retry_s(slow, attempts, 0.5) for attempts in (1, 2, 3, 4, 5, 1000)] == [10, 20, 40, 80, 100, 100]
    assert retry_s(slow, 1, 0.0) == pytest.approx(8)
    assert retry_s(slow, 1, 1.0) == pytest.approx(12)
