from __future__ import annotations

import pytest

from agent.runtime.heartbeat import Heartbeat
from agent.runtime.spec import Limits
from agent.runtime.wire.control import Pong

LIMITS = Limits(heartbeat_s=1, heartbeat_timeout_s=5, hang_timeout_s=120)


def pong(step_age_s: float = 0) -> Pong:
    return Pong(
        seq=1,
        step_age_s=step_age_s,
        resident_bytes=0,
        prefix_cache_bytes=0,
        kv_used_tokens=0,
        active_sequences=0,
        waiting_sequences=0,
        batch_tokens=0,
        threads=1,
    )


@pytest.mark.parametrize(
    ("heard_at", "step_age_s", "oldest_drop", "now", "verdict"),
    [
        (10, 0, None, 11, None),
        (10, 0, None, 15, None),
        (10, 0, None, 15.1, "did not answer for 5 s"),
        (10, 120, None, 11, None),
        (10, 121, None, 11, "hung in one step for 121.0 s"),
        (200, 0, 100, 201, None),
        (300, 0, 100, 301, "did not cancel a request within 120 s"),
    ],
)
def test_verdicts(heard_at: float, step_age_s: float, oldest_drop: float | None, now: float, verdict: str) -> None:
    heartbeat = Heartbeat(LIMITS, 0)
    heartbeat.heard(pong(step_age_s), heard_at)
    assert heartbeat.verdict(now, slept_s=1, oldest_drop=oldest_drop) == verdict


def test_a_daemon_that_was_held_up_itself_blames_nobody() -> None:
    heartbeat = Heartbeat(LIMITS, 0)
    assert heartbeat.verdict(20, slept_s=20, oldest_drop=None) is None
    assert heartbeat.verdict(21, slept_s=1, oldest_drop=None) is None
    assert heartbeat.verdict(26, slept_s=1, oldest_drop=None) == "did not answer for 5 s"
