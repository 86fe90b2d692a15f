"""Where a board throttles with a hysteresis, from what its flags and its thermometer say."""

from __future__ import annotations

import pytest

from agent.hardware.governor.trip import Trip

COOL, HOT, IDLE = (False, True), (True, True), (True, False)
"""Throttled or not, busy or not."""


@pytest.mark.parametrize(
    ("looks", "below"),
    [
        ([(84.0, COOL), (85.0, HOT), (80.0, HOT), (75.0, HOT), (74.0, COOL)], 83.0),  # down at 85, up again at 75
        ([(79.0, COOL), (80.5, HOT), (85.0, HOT), (82.0, HOT), (80.0, HOT), (79.0, COOL)], None),  # a Raspberry Pi
        ([(84.0, COOL), (85.0, HOT), (83.0, HOT), (82.5, HOT)], None),  # not deep enough to be sure
        ([(84.0, COOL), (85.0, HOT), (78.0, IDLE), (76.0, HOT)], None),  # it cooled because it rested
        ([(86.0, HOT), (78.0, HOT)], None),  # where it began was not seen
        ([(84.0, COOL), (85.0, HOT), (80.0, HOT), (79.0, COOL), (82.0, HOT), (77.0, HOT)], 80.0),  # the lowest counts
    ],
)
def test_trip_points(looks: list[tuple[float, tuple[bool, bool]]], below: float | None) -> None:
    trip = Trip()
    for celsius, (throttled, busy) in looks:
        trip.advance(celsius, throttled=throttled, busy=busy)
    assert trip.below_celsius == below
