from __future__ import annotations

import random

import pytest

from agent.fleet.link.backoff import Backoff, Pauses

PAUSES = Pauses(first_s=4, cap_s=60, stable_s=120)


def failed(times: int) -> Backoff:
    backoff = Backoff(pauses=PAUSES)
    for _ in range(times):
        backoff = backoff.failed(0.0)
    return backoff


@pytest.mark.parametrize(("failures", "ceiling_s"), [(1, 4), (2, 8), (3, 16), (4, 32), (5, 60), (6, 60), (10_000, 60)])
def test_the_ceiling_doubles_up_to_the_cap(failures: int, ceiling_s: float) -> None:
    assert failed(failures).pause_s(0.0) == 0
    assert failed(failures).pause_s(0.5) == ceiling_s / 2
    assert failed(failures).pause_s(1.0) == ceiling_s


@pytest.mark.parametrize(
    ("connected_s", "failures"),
    [(0.0, 4), (1.0, 4), (119.9, 4), (120.0, 1), (10_000.0, 1)],
)
def test_only_a_stable_connection_makes_counting_begin_anew(connected_s: float, failures: int) -> None:
    assert failed(3).connected(1000.0).failed(1000.0 + connected_s).failures == failures


def test_a_broker_that_drops_each_connection_is_asked_less_and_less() -> None:
    backoff, now, pauses = Backoff(pauses=PAUSES), 0.0, []
    for _ in range(8):
        backoff = backoff.connected(now).failed(now + 1)
        pauses.append(backoff.pause_s(1.0))
        now += 1 + pauses[-1]
    assert pauses == [4, 8, 16, 32, 60, 60, 60, 60]


def test_what_will_not_change_by_itself_waits_at_least_half_of_the_longest_pause() -> None:
    assert [failed(1).pause_s(dice, futile=True) for dice in (0.0, 0.5, 1.0)] == [30, 45, 60]


def test_devices_that_lost_their_broker_together_come_back_spread_over_time() -> None:
    generator = random.Random(1)
    pauses = [Backoff(pauses=Pauses()).failed(0.0).pause_s(generator.random()) for _ in range(1000)]
    per_half_second = [sum(start <= pause < start + 0.5 for pause in pauses) for start in (0.5 * i for i in range(10))]
    assert sum(per_half_second) == 1000
    assert max(per_half_second) < 150
