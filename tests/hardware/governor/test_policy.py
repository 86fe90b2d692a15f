"""The governor's decisions as tables, and what must hold whatever the sensors say."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.hardware.governor.climber import Climber
from agent.hardware.governor.decision import Bounds, Decision, Mode, Readings
from agent.hardware.governor.ladder import build
from agent.hardware.governor.policy import Governor
from agent.hardware.governor.tuner import AGAIN_S, TRIAL_S, Tuner

PI_5 = {"soft_celsius": 75.0, "hard_celsius": 90.0, "hysteresis_celsius": 5.0, "batch_tokens": 512}
MODES: tuple[Mode, ...] = ("performance", "balanced", "efficient", "quiet")


def governor(mode: Mode = "balanced", clocks: tuple[int, ...] = (), **more: Any) -> Governor:
    return Governor(build(4, 4, clocks), Bounds(**{**PI_5, **more}), mode)


def after(one: Governor, seconds: float, *, start_s: float = 0.0, **readings: Any) -> Decision:
    """The decision after so many seconds of the same readings."""
    now_s, decision = start_s, None
    while decision is None or now_s <= start_s + seconds:
        decision = one.decide(Readings(**{"now_s": now_s, "busy": True, **readings}))
        now_s += 2.0
    return decision


@pytest.mark.parametrize(
    ("readings", "threads", "pause_ratio", "admit", "cause", "words"),
    [
        ({}, 4, 0.0, True, "none", "full speed"),
        ({"celsius": 60.0}, 4, 0.0, True, "none", "full speed"),
        ({"celsius": 88.0}, 4, 0.0, True, "none", "full speed"),  # inside the band: hold
        ({"celsius": 89.2}, 2, 4.0, True, "heat", "89 °C, to be held below 89 °C: 2 of 4 threads"),
        ({"celsius": 91.0}, 2, 4.0, False, "heat", "at the hard limit of 90 °C: no new work"),
        # The board has slowed itself down: nothing to gain on top of that, with a thermometer or without one.
        ({"throttled": ("throttled",)}, 4, 0.0, True, "none", "full speed"),
        ({"celsius": 60.0, "throttled": ("throttled",)}, 4, 0.0, True, "none", "full speed"),
        ({"celsius": 85.2, "throttled": ("soft temperature limit", "throttled")}, 4, 0.0, True, "none", "full speed"),
        ({"celsius": 60.0, "throttled": ("under-voltage",)}, 2, 0.0, True, "supply", "too low a voltage: 2 of 4"),
        ({"on_mains": True, "battery_percent": 5.0}, 4, 0.0, True, "none", "full speed"),
        ({"on_mains": None, "battery_percent": 5.0}, 4, 0.0, True, "none", "full speed"),
        ({"on_mains": False}, 4, 0.0, True, "none", "full speed"),  # nothing to save where the clock may not be set
        ({"on_mains": False, "battery_percent": 15.0}, 2, 0.0, True, "battery", "battery is at 15%: 2 of 4 threads"),
        ({"on_mains": False, "battery_percent": 5.0}, 2, 0.25, True, "battery", "20% of the time at rest"),
        ({"memory_stall_percent": 14.0}, 4, 0.0, True, "none", "full speed"),
        ({"memory_stall_percent": 40.0}, 4, 0.0, False, "memory", "waited for memory 40%"),
    ],
)
def test_decisions_after_ten_minutes(
    readings: dict[str, Any], threads: int, pause_ratio: float, admit: bool, cause: str, words: str
) -> None:
    decision = after(governor(), 600, **readings)
    assert (decision.threads, decision.pause_ratio, decision.admit, decision.cause) == (
        threads, pause_ratio, admit, cause,
    )  # fmt: skip
    assert words in decision.reason


@pytest.mark.parametrize(
    ("mode", "max_mhz", "partials_ratio", "top"),
    [
        ("performance", 2400, 1.0, 89.0),
        ("balanced", 2400, 1.0, 89.0),
        ("efficient", 1500, 1.0, 80.0),
        ("quiet", 1500, 2.0, 70.0),
    ],
)
def test_modes_of_a_cool_board_without_a_meter(mode: Mode, max_mhz: int, partials_ratio: float, top: float) -> None:
    one = governor(mode, (1500, 2000, 2400))
    decision = after(one, 60, celsius=50.0)
    assert (decision.threads, decision.max_mhz, decision.partials_ratio) == (4, max_mhz, partials_ratio)
    assert one.top_celsius == top


def test_efficient_leaves_heat_to_the_board_where_it_may_not_lower_the_clock() -> None:
    """Threads and pauses cost more energy for each token than they save."""
    one = governor("efficient")
    assert one.top_celsius == 89.0
    assert after(one, 600, celsius=84.0).rung == 0


def test_without_a_thermometer_a_throttled_board_gets_a_lower_clock_and_no_fewer_threads() -> None:
    decision = after(governor(clocks=(1500, 2400)), 600, throttled=("throttled",))
    assert (decision.threads, decision.max_mhz, decision.cause) == (4, 1500, "throttling")
    assert "held its clocks down (throttled)" in decision.reason


def test_a_board_that_throttles_with_a_hysteresis_is_held_below_its_trip_point() -> None:
    one = governor(clocks=(1500, 2400))
    assert after(one, 2, celsius=84.0).max_mhz == 2400
    after(one, 2, start_s=10, celsius=85.0, throttled=("throttled",))
    after(one, 2, start_s=20, celsius=78.0, throttled=("throttled",))
    assert one.top_celsius == 83.0
    assert after(one, 20, start_s=30, celsius=83.5).max_mhz == 1500


def test_on_battery_the_clock_is_lowered_except_for_performance() -> None:
    clocks = (1500, 2400)
    assert after(governor("balanced", clocks), 10, on_mains=False).max_mhz == 1500
    assert after(governor("performance", clocks), 10, on_mains=False).max_mhz == 2400


def test_heat_that_rises_fast_is_met_before_it_is_there() -> None:
    one = governor("quiet")
    for step in range(8):
        decision = one.decide(Readings(now_s=2.0 * step, busy=True, celsius=50.0 + 2.4 * step))
    assert decision.rung > 0
    assert one.top_celsius > 50.0 + 2.4 * 7


def test_prompts_and_partials_give_way_with_the_threads() -> None:
    decision = after(governor(), 600, celsius=89.5)
    assert (decision.threads_batch, decision.batch_tokens, decision.partials_ratio) == (2, 256, None)
    assert decision.pause_s(0.04) == pytest.approx(0.16)


def test_new_work_starts_again_a_hysteresis_below_the_hard_limit() -> None:
    one = governor()
    assert after(one, 2, celsius=90.0).admit is False
    assert after(one, 2, start_s=10, celsius=86.0).admit is False
    assert after(one, 2, start_s=20, celsius=84.5).admit is True


def test_watts_are_held_below_the_target() -> None:
    one = governor(most_watts=5.0)
    assert after(one, 100, watts=4.0).threads == 4
    assert after(one, 30, start_s=200, watts=6.0).rung > 1
    assert "6.0 W, to be held below 5 W" in after(one, 2, start_s=232, watts=6.0).reason
    assert after(one, 400, start_s=300, watts=3.5).threads == 4


def test_a_board_that_slowed_down_speeds_up_again_when_it_has_cooled() -> None:
    one = governor()
    assert after(one, 100, celsius=89.6).threads < 4
    assert after(one, 900, start_s=100, celsius=60.0).rung == 0


def test_a_climb_that_failed_is_not_tried_again_soon_but_when_it_is_cooler() -> None:
    climber = Climber(
        rungs=5, low=75, high=80, urgent=81, clearly=2, ahead_s=0, settle_s=8, raise_s=60, retry_s=1200
    )  # fmt: skip
    rungs = []
    for second in range(0, 3600, 2):  # rung 0 leads to 83 °C, rung 1 to 73 °C
        rungs.append(climber.advance(83.0 if climber.rung == 0 else 73.0, float(second)))
    changes = sum(one != other for one, other in pairwise(rungs))
    assert changes <= 8
    before = len(rungs)
    for second in range(3600, 3720, 2):  # a window was opened
        rungs.append(climber.advance(70.0, float(second)))
    assert 0 in rungs[before:]


def test_the_tuner_finds_the_rung_with_the_fewest_joules_and_stays() -> None:
    spent = [0.26, 0.21, 0.19, 0.23, 0.3]
    tuner = Tuner(start=0, last=4)
    seen = [tuner.advance(spent[tuner.rung], float(second), enough=None) for second in range(0, 3000, 2)]
    assert seen[-1] == 2
    assert max(seen) == 3
    assert len({*seen[int(TRIAL_S * 5 / 2) :]}) == 1
    tuner.advance(None, 3000 + AGAIN_S, enough=None)
    assert tuner.rung == 0


def test_the_tuner_stops_where_it_is_enough() -> None:
    tuner = Tuner(start=0, last=4)
    for second in range(0, 2000, 2):
        tuner.advance([0.26, 0.21, 0.19, 0.23, 0.3][tuner.rung], float(second), enough=0.22)
    assert tuner.rung == 1


def test_bounds_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="not below"):
        governor(soft_celsius=95.0)


CELSIUS = st.one_of(st.none(), st.floats(-20, 120))
READING = st.fixed_dictionaries(
    {
        "busy": st.booleans(),
        "celsius": CELSIUS,
        "throttled": st.sampled_from([(), ("throttled",), ("under-voltage",), ("frequency capped", "throttled")]),
        "on_mains": st.sampled_from([None, True, False]),
        "battery_percent": st.one_of(st.none(), st.floats(0, 100)),
        "watts": st.one_of(st.none(), st.floats(0, 300)),
        "tokens_per_s": st.one_of(st.none(), st.floats(0, 500)),
        "memory_stall_percent": st.one_of(st.none(), st.floats(0, 100)),
    }
)


@given(
    st.sampled_from(MODES),
    st.sampled_from([(), (600, 1500, 2400)]),
    st.lists(st.tuples(st.floats(0, 400), READING), min_size=1, max_size=40),
)
def test_whatever_the_sensors_say_the_decision_is_within_bounds(
    mode: Mode, clocks: tuple[int, ...], steps: list[tuple[float, dict[str, Any]]]
) -> None:
    one = governor(mode, clocks, most_watts=20.0)
    now_s = 0.0
    for wait_s, readings in steps:
        now_s += wait_s
        decision = one.decide(Readings(now_s=now_s, **readings))
        assert 2 <= decision.threads <= 4
        assert 1 <= decision.threads_batch <= 4
        assert 0 <= decision.pause_ratio <= 4
        assert 32 <= decision.batch_tokens <= 512
        assert decision.max_mhz in (clocks or (None,))
        assert decision.reason.endswith(".")
        assert not decision.admit if (readings["celsius"] or 0) >= 90 else True
        assert (decision.rung == 0) == (
            decision.threads == 4 and not decision.pause_ratio and decision.max_mhz in (None, 2400)
        )


@settings(max_examples=20)
@given(st.lists(st.floats(72, 79.9), min_size=300, max_size=300))
def test_heat_that_stays_inside_the_band_changes_nothing_often(values: list[float]) -> None:
    """An hour of noise around the middle of the band, one look every 12 seconds."""
    climber = Climber(
        rungs=11, low=75, high=80, urgent=81, clearly=2, ahead_s=0, settle_s=8, raise_s=60, retry_s=1200
    )  # fmt: skip
    rungs = [climber.advance(value, 12.0 * number) for number, value in enumerate(values)]
    assert rungs == [0] * len(values)
