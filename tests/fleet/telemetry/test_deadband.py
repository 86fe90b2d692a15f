from __future__ import annotations

import pytest

from agent.fleet.telemetry.deadband import IGNORED, Deadband, Filter, flat
from agent.fleet.telemetry.sample import Values

BANDS = {
    "celsius": Deadband(absolute=2),
    "free": Deadband(absolute=10, relative=0.1),
    "mhz": IGNORED,
    "*.resident": Deadband(absolute=100),
    "dropped.*": Deadband(relative=0.5),
}


@pytest.mark.parametrize(
    ("before", "now", "passes"),
    [
        ({"celsius": 50.0}, {"celsius": 52.0}, False),
        ({"celsius": 50.0}, {"celsius": 52.1}, True),
        ({"celsius": 50.0}, {"celsius": 47.9}, True),
        ({"free": 1000}, {"free": 1100}, False),
        ({"free": 1000}, {"free": 1101}, True),
        ({"free": 20}, {"free": 29}, False),
        ({"mhz": 600}, {"mhz": 2400}, False),
        ({"requests": 1}, {"requests": 1}, False),
        ({"requests": 1}, {"requests": 2}, True),
        ({"throttled": False}, {"throttled": True}, True),
        ({"state": "ready"}, {"state": "failed"}, True),
        ({"celsius": 50.0}, {"celsius": None}, True),
        ({"celsius": None}, {"celsius": None}, False),
        ({"celsius": 50.0}, {}, True),
        ({}, {"celsius": 50.0}, True),
        ({"a.b": {"resident": 1}}, {"a.b": {"resident": 101}}, False),
        ({"a.b": {"resident": 1}}, {"a.b": {"resident": 102}}, True),
        ({"dropped": {"board": 10}}, {"dropped": {"board": 15}}, False),
        ({"dropped": {}}, {"dropped": {"board": 1}}, True),
    ],
)
def test_what_is_new(before: Values, now: Values, passes: bool) -> None:
    filter = Filter(BANDS, heartbeat_s=100)
    assert filter.passes(before, 0)
    assert filter.passes(now, 1) == passes


def test_silence_is_bounded_by_the_heartbeat() -> None:
    filter = Filter(BANDS, heartbeat_s=100)
    passed = [now for now in range(0, 350, 10) if filter.passes({"celsius": 50.0}, now)]
    assert passed == [0, 100, 200, 300]


def test_a_slow_drift_is_compared_with_what_was_recorded_not_with_the_last_look() -> None:
    filter = Filter(BANDS, heartbeat_s=1e9)
    passed = [celsius for celsius in range(50, 60) if filter.passes({"celsius": celsius}, 0)]
    assert passed == [50, 53, 56, 59]


def test_flat_names() -> None:
    assert flat({"a": 1, "g": {"b": 2, "c": None}, "n": None}) == {"a": 1, "g.b": 2}
