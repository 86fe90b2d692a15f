from __future__ import annotations

from agent.fleet.telemetry.wear import Wear, Written


def test_the_last_hour_and_all_of_it() -> None:
    wear = Wear()
    for minute in range(180):
        wear.add(minute * 60.0, Written(1, 1000, 0))
    assert wear.total == Written(180, 180_000, 0)
    assert wear.last_hour(179 * 60.0) == Written(60, 60_000, 0)
    assert wear.last_hour(200 * 60.0) == Written(39, 39_000, 0)
    assert wear.last_hour(1e9) == Written()
