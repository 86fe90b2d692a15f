"""When a version has proved itself, and when it goes back."""

from __future__ import annotations

import pytest

from agent.updates.parts import Health, Limits
from agent.updates.trial.probation import Load, load_of, outcome

LIMITS = Limits(
    speed_ratio=0.5,
    memory_ratio=1.5,
    load_timeout_s=60,
    trial_timeout_s=60,
    hang_timeout_s=10,
    probation_s=600,
    probation_requests=20,
    probation_crashes=1,
    probation_error_ratio=0.2,
    probation_error_requests=5,
)


@pytest.mark.parametrize(
    ("ok", "failed", "crashes", "served_s", "healthy", "says"),
    [
        (0, 0, 0, 0, None, ""),
        (19, 0, 0, 599, None, ""),
        (20, 0, 0, 5, True, "20 requests went well."),
        (0, 0, 0, 600, True, "It has served for 600 s, and no request has ended meanwhile."),
        (3, 0, 0, 700, True, "It has served for 700 s, with 3 requests that went well."),
        (0, 0, 1, 1, False, "It crashed on probation (1 crash)."),
        (20, 0, 1, 600, False, "It crashed on probation (1 crash)."),
        (0, 4, 0, 1, None, ""),
        (0, 5, 0, 1, False, "5 of 5 requests failed on probation (100%; 20% are allowed)."),
        (4, 1, 0, 1, None, ""),
        (3, 2, 0, 1, False, "2 of 5 requests failed on probation (40%; 20% are allowed)."),
        (20, 6, 0, 1, False, "6 of 26 requests failed on probation (23%; 20% are allowed)."),
        (20, 5, 0, 1, True, "20 requests went well."),
    ],
)
def test_outcomes(ok: int, failed: int, crashes: int, served_s: float, healthy: bool | None, says: str) -> None:
    found = outcome(Health(requests_ok=ok, requests_failed=failed, crashes=crashes), served_s, LIMITS)
    assert (None if found is None else found.healthy) == healthy
    assert (found.reason if found else "") == says


@pytest.mark.parametrize(
    ("ok", "failed", "under_way", "healthy"), [(0, 0, 2, None), (0, 0, 0, True), (1, 0, 2, True), (0, 1, 2, True)]
)
def test_the_first_answer_is_waited_for(ok: int, failed: int, under_way: int, healthy: bool | None) -> None:
    """A version that is asked, and has answered nothing yet, has not proved anything by the time that has passed."""
    health = Health(requests_ok=ok, requests_failed=failed, under_way=under_way)
    found = outcome(health, 601.0, LIMITS)
    assert (None if found is None else found.healthy) == healthy


LOAD = Load(rate_per_s=20.0, unit="tokens", least_ratio=0.7)


@pytest.mark.parametrize(
    ("worked", "rate_per_s", "served_s", "healthy", "says"),
    [
        (10, 11.3, 5, None, ""),
        (10, 11.0, 5, False, "Under load it makes 11 tokens a second, 0.55 times as many as the version before did; "),
        (9, 1.0, 5, None, ""),
        (9, 1.0, 600, True, "9 requests that went well. Its speed was not compared: it was asked too little."),
        (10, 18.0, 600, True, " Under load it makes 18 tokens a second, the version before made 20."),
        (20, 18.0, 5, True, "20 requests went well. Under load it makes 18 tokens a second, the version "),
        (20, 11.0, 5, False, "at least 0.56 times is expected."),
    ],
)
def test_a_speed_that_no_quiet_moment_has_shown_is_compared_under_load(
    worked: int, rate_per_s: float, served_s: float, healthy: bool | None, says: str
) -> None:
    health = Health(requests_ok=worked, worked=worked, units=rate_per_s * 7, work_s=7.0)
    found = outcome(health, served_s, LIMITS, LOAD)
    assert (None if found is None else found.healthy) == healthy
    assert found is None or says in found.reason
    slow = outcome(health, served_s, LIMITS)
    assert slow is None or slow.healthy, "without a figure to compare with there is no comparison"


@pytest.mark.parametrize(
    ("held_up", "served_s", "healthy"),
    [(0.0, 5, False), (0.1, 5, False), (0.11, 5, None), (0.11, 600, True), (1.0, 600, True)],
)
def test_a_speed_under_load_that_others_may_be_to_blame_for_does_not_count(
    held_up: float, served_s: float, healthy: bool | None
) -> None:
    """10 a second, and 11.2 are expected: it might have made them if it was held up for 11% of its work."""
    health = Health(requests_ok=15, worked=15, units=150.0, work_s=15.0, held_up=held_up)
    found = outcome(health, served_s, LIMITS, LOAD)
    assert (None if found is None else found.healthy) == healthy
    assert not healthy or (found and found.reason.endswith("Its speed was not compared: others took the processors."))


@pytest.mark.parametrize(
    ("figures", "load"),
    [
        ({"load_rate_per_s": 20, "rate_unit": "tokens", "load_least_ratio": 0.7}, LOAD),
        ({"rate_per_s": 20.0, "rate_unit": "tokens"}, None),
        ({"load_rate_per_s": "x", "rate_unit": "tokens", "load_least_ratio": 0.7}, None),
        ({}, None),
    ],
)
def test_what_a_verdict_leaves_for_probation(figures: dict[str, object], load: Load | None) -> None:
    assert load_of(figures) == load
