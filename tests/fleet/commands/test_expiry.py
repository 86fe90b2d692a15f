"""A command does not begin too late, whatever the clock says."""

from __future__ import annotations

import math

import pytest

from agent.fleet.commands.expiry import Deadline, left_at_arrival_s, moment

NOW = 1_900_000_000.0


@pytest.mark.parametrize(
    ("expires_at", "issued_at", "message_expiry_s", "wall_s", "left_s"),
    [
        (None, None, None, NOW, None),
        (NOW + 60, None, None, NOW, 60),
        (NOW - 1, None, None, NOW, -1),
        (None, None, 30, NOW, 30),
        (NOW + 60, None, 30, NOW, 30),
        (NOW + 60, None, 90, NOW, 60),
        (NOW + 60, NOW - 5, None, NOW, 60),  # the device's clock is later, and right
        (NOW + 60, NOW, None, 0.0, 60),  # a device without a clock believes the sender
        (NOW + 60, NOW + 100, None, NOW, -40),  # issued after it expires
    ],
)
def test_what_it_has_left_when_it_comes(
    expires_at: float | None,
    issued_at: float | None,
    message_expiry_s: float | None,
    wall_s: float,
    left_s: float | None,
) -> None:
    found = left_at_arrival_s(
        expires_at=expires_at, issued_at=issued_at, message_expiry_s=message_expiry_s, wall_s=wall_s
    )
    assert found == left_s


@pytest.mark.parametrize(
    ("passed_s", "wall_s", "boot", "over"),
    [
        (0, NOW, "a", False),
        (59, NOW + 59, "a", False),
        (60, NOW + 60, "a", True),
        (59, NOW - 10_000, "a", False),  # the clock was set back
        (60, NOW - 10_000, "a", True),  # which does not make it live longer
        (1, NOW + 10_000, "a", True),  # the clock was put right
        (0, NOW + 61, "b", True),  # after another boot the time of day is all there is
        (99_999, NOW + 59, "b", False),
        (0, NOW - 10_000, "b", False),
    ],
)
def test_it_is_over_by_the_clock_or_by_its_age(passed_s: float, wall_s: float, boot: str, over: bool) -> None:
    deadline = Deadline(expires_at=NOW + 60, left_s=60, arrived_up_s=500, arrived_wall_s=NOW, boot="a")
    assert deadline.over(up_s=500 + passed_s, wall_s=wall_s, boot=boot) == over
    assert (deadline.remaining_s(up_s=500 + passed_s, wall_s=wall_s, boot=boot) == 0) == over


def test_without_an_end_it_waits_for_ever() -> None:
    deadline = Deadline(expires_at=None, left_s=None, arrived_up_s=0, arrived_wall_s=0, boot="a")
    assert not deadline.over(up_s=1e12, wall_s=1e12, boot="b")
    assert deadline.remaining_s(up_s=1e12, wall_s=1e12, boot="b") == math.inf


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (12, 12.0),
        (1.5, 1.5),
        ("2030-01-31T12:00:00Z", 1_896_091_200.0),
        ("2030-01-31T13:00:00+01:00", 1_896_091_200.0),
        ("2030-01-31T12:00:00", 1_896_091_200.0),
        ("tomorrow", None),
        ("", None),
        (True, None),
        (math.nan, None),
        (math.inf, None),
        (10**400, None),
        ([], None),
        (None, None),
    ],
)
def test_times_are_read_in_two_ways(value: object, seconds: float | None) -> None:
    assert moment(value) == seconds
