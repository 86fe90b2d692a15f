"""The governor on the simulated Pi 5 of `benchmarks/energy/governor_board.py`: never too hot, and calm."""

from __future__ import annotations

import pytest

from benchmarks.energy import governor_rows
from benchmarks.energy.governor_board import Board, Physics, fit


def test_the_simulation_warms_up_like_the_real_board() -> None:
    assert fit(Physics()) == pytest.approx(governor_rows.MEASURED_CELSIUS, abs=1.5)


def test_four_threads_read_and_draw_what_was_measured() -> None:
    physics = Physics()
    assert physics.gb_per_s(4, 2400) == pytest.approx(10.25)
    watts = physics.idle_watts + physics.core_power(4, 2400) + physics.memory_watts * 10.25
    assert watts == pytest.approx(6.37, rel=0.03)


@pytest.mark.parametrize("clock", [False, True])
@pytest.mark.parametrize("ambient_celsius", [10.0, 25.0, 38.0])
@pytest.mark.parametrize("throttle", ["firmware", "abrupt"])
def test_two_hours_below_the_hard_limit_with_few_changes(ambient_celsius: float, throttle: str, clock: bool) -> None:
    physics = Physics(ambient_celsius=ambient_celsius, throttle=throttle)  # type: ignore[arg-type]
    run = governor_rows.governed(physics, clock=clock, seconds=7200)
    assert run.most_celsius <= governor_rows.BOUNDS.hard_celsius
    assert run.changes_per_hour(7200) <= 6
    assert run.tokens_per_s > 5


@pytest.mark.parametrize("clock", [False, True])
@pytest.mark.parametrize("name", governor_rows.VARIANTS)
def test_by_default_it_costs_no_speed_where_the_board_keeps_itself_cool_enough(name: str, clock: bool) -> None:
    physics = governor_rows.VARIANTS[name]
    alone, run = governor_rows.ungoverned(physics), governor_rows.governed(physics, clock=clock)
    assert run.most_celsius <= governor_rows.BOUNDS.hard_celsius
    if alone.most_celsius <= governor_rows.BOUNDS.hard_celsius:
        assert run.tokens_per_s >= governor_rows.LEAST_RATIO * alone.tokens_per_s


def test_a_board_that_drops_its_clock_far_down_is_faster_when_it_is_held_below_that() -> None:
    physics = governor_rows.VARIANTS["abrupt throttling to 600 MHz"]
    alone, run = governor_rows.ungoverned(physics), governor_rows.governed(physics, clock=True)
    assert run.tokens_per_s >= 1.35 * alone.tokens_per_s


def test_without_a_meter_efficient_stops_where_a_lower_clock_would_cost_energy() -> None:
    physics = governor_rows.VARIANTS["abrupt throttling to 600 MHz"]
    balanced, efficient = (governor_rows.governed(physics, clock=True, mode=mode) for mode in ("balanced", "efficient"))
    assert efficient.joules_per_token <= balanced.joules_per_token
    assert efficient.tokens_per_s >= 0.95 * balanced.tokens_per_s


def test_nobody_gains_much_on_a_pi_5_whose_heat_is_given() -> None:
    """The bound that the governor's figures are to be held against."""
    alone = governor_rows.ungoverned(Physics())
    cool, hot = (governor_rows.ideal(Physics(), celsius) for celsius in (85.0, governor_rows.BOUNDS.hard_celsius))
    assert 1.0 < cool.tokens_per_s / alone.tokens_per_s < hot.tokens_per_s / alone.tokens_per_s < 1.15
    assert (cool.most_celsius, hot.most_celsius) == (pytest.approx(85, abs=0.01), pytest.approx(90, abs=0.01))


def test_the_firmware_does_not_heed_a_lower_limit_while_it_throttles() -> None:
    board = Board(Physics(), cap_mhz=1500.0)
    board.celsius = 82.0
    assert board.mhz == 2300.0
    board.celsius = 79.9
    assert board.mhz == 1500.0
