"""Joules per request: conserved, fair, and within 2% of what a simulated board spent."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.hardware.power.account import EnergyAccount
from agent.hardware.power.energy import IdlePower, Integrator, Interval
from agent.hardware.power.meter import PowerSample


def counted(begin_s: float, end_s: float, joules: float | None) -> Interval:
    return Interval(begin_s=begin_s, end_s=end_s, joules=joules)


@pytest.mark.parametrize(
    ("one", "other", "joules"),
    [
        (PowerSample(at_s=0, watts=4), PowerSample(at_s=2, watts=6), 10.0),
        (PowerSample(at_s=0, watts=4), PowerSample(at_s=16, watts=6), None),  # a gap: nobody knows
        (PowerSample(at_s=0, watts=4, joules=100), PowerSample(at_s=2, watts=6, joules=109), 9.0),
        (PowerSample(at_s=0, joules=100), PowerSample(at_s=999, joules=900), 800.0),  # a counter bridges it
        (PowerSample(at_s=0, joules=100), PowerSample(at_s=2, joules=50), None),
        (PowerSample(at_s=0, watts=4), PowerSample(at_s=2, joules=50), None),
    ],
)
def test_trapezoids_counters_and_gaps(one: PowerSample, other: PowerSample, joules: float | None) -> None:
    integrator = Integrator()
    assert integrator.add(one) is None
    interval = integrator.add(other)
    assert interval is not None
    assert interval.joules == joules
    assert integrator.add(other) is None  # the same reading again, as a plug that sends seldom gives


def test_requests_side_by_side_share_by_weight_and_idle_time_is_nobody_s() -> None:
    account = EnergyAccount(IdlePower(2.0))
    account.begin("a", 0.0)
    account.begin("b", 5.0, weight=3.0)
    account.begin("b", 6.0)  # known already
    account.add(counted(0.0, 10.0, 80.0))  # 60 J of work on 20 J at rest, 8 W throughout
    assert account.end("a", 10.0).joules == pytest.approx(40 + 10)  # type: ignore[union-attr]
    assert account.end("b", 10.0).joules == pytest.approx(30)  # type: ignore[union-attr]
    account.add(counted(10.0, 20.0, 20.0))
    assert (account.total_joules, account.request_joules) == (pytest.approx(100), pytest.approx(80))
    assert account.end("a", 20.0) is None


def test_work_pays_for_what_it_adds_when_it_fills_a_part_of_an_interval() -> None:
    account = EnergyAccount(IdlePower(3.0))
    account.begin("a", 4.0)
    account.end("a", 6.0)
    account.add(counted(0.0, 10.0, 30.0 + 8.0))
    assert account.request_joules == pytest.approx(3.0 * 2 + 8.0)


def test_a_step_between_two_readings_of_watts_is_a_step() -> None:
    account = EnergyAccount(IdlePower())
    account.begin("a", 0.25)
    account.add(Interval(begin_s=0.0, end_s=1.0, joules=4.5, begin_watts=3.0, end_watts=6.0))
    assert (account.request_joules, account.total_joules) == (pytest.approx(4.5), pytest.approx(5.25))


def test_the_tail_of_a_request_is_estimated_and_its_measure_goes_to_the_totals() -> None:
    account = EnergyAccount(IdlePower(2.0))
    account.begin("a", 0.0)
    account.begin("b", 0.0)
    account.add(Interval(begin_s=0.0, end_s=2.0, joules=12.0, begin_watts=6.0, end_watts=6.0))
    energy = account.end("a", 3.0)
    assert energy is not None
    assert (energy.joules, energy.estimated_s) == (pytest.approx(6.0 + 3.0), pytest.approx(1.0))
    account.add(Interval(begin_s=2.0, end_s=4.0, joules=16.0, begin_watts=8.0, end_watts=8.0))
    assert account.request_joules == pytest.approx(28.0)


def test_time_without_a_reading_is_said_and_charged_nothing() -> None:
    account = EnergyAccount(IdlePower(2.0))
    account.begin("a", 5.0)
    account.add(counted(0.0, 20.0, None))
    energy = account.end("a", 25.0)
    assert energy is not None
    assert (energy.joules, energy.missing_s, account.missing_s) == (0.0, 15.0, 20.0)


def test_idle_power_is_learned_while_nothing_runs() -> None:
    idle = IdlePower()
    account = EnergyAccount(idle)
    for second in range(30):
        account.add(counted(second, second + 1, 2.5))
    assert idle.watts == pytest.approx(2.5)
    account.begin("a", 30.0)
    account.add(counted(30.0, 31.0, 9.0))
    assert idle.watts == pytest.approx(2.5)


def test_a_meter_that_never_answers_costs_no_memory() -> None:
    account = EnergyAccount(IdlePower())
    for number in range(5000):
        account.begin(number, number)
        account.end(number, number + 1)
    assert len(account._ended) <= 1001


WORK = st.tuples(st.floats(0, 50), st.floats(0, 20), st.floats(0.1, 5))


@given(st.lists(WORK, max_size=8), st.lists(st.floats(0, 500), min_size=1, max_size=6), st.floats(0, 10))
def test_shares_add_up_to_what_was_measured(
    works: list[tuple[float, float, float]], energies: list[float], idle_watts: float
) -> None:
    account = EnergyAccount(IdlePower(idle_watts))
    for key, (begin_s, _, weight) in enumerate(works):
        account.begin(key, begin_s, weight=weight)
    for key, (begin_s, length_s, _) in enumerate(works):
        account.end(key, begin_s + length_s)
    kept = list(account._ended)
    for number, joules in enumerate(energies):
        account.add(counted(number * 12.0, number * 12.0 + 12.0, joules))
    assert account.total_joules == pytest.approx(sum(energies))
    assert sum(work.joules for work in kept) == pytest.approx(account.request_joules)
    assert account.request_joules <= account.total_joules * (1 + 1e-9)
    assert all(work.joules >= 0 for work in kept)


@dataclass
class SimulatedBoard:
    """Draws `idle` watts, `active` more while anything runs, `each` more per further request: known at every moment."""

    idle: float = 2.1
    active: float = 4.0
    each: float = 0.3
    requests: list[tuple[float, float]] = field(default_factory=list)

    def running(self, at_s: float) -> list[int]:
        return [key for key, (begin_s, end_s) in enumerate(self.requests) if begin_s <= at_s < end_s]

    def watts(self, at_s: float) -> float:
        count = len(self.running(at_s))
        return self.idle + (self.active + self.each * (count - 1) if count else 0.0)


@pytest.mark.parametrize("kind", ["watts", "counter"])
@pytest.mark.parametrize("seed", range(3))
def test_energy_per_request_is_within_2_percent_of_a_board_of_known_power(kind: str, seed: int) -> None:
    """Forty requests of 5 to 40 s, several at once; read every second and as each ends, 1% noise on the watts."""
    rng = random.Random(seed)
    board = SimulatedBoard()
    begin_s = 20.0
    for _ in range(40):
        begin_s += rng.expovariate(1 / 8)
        board.requests.append((begin_s, begin_s + rng.uniform(5, 40)))
    last_s = max(end_s for _, end_s in board.requests) + 5

    truth, counter, step_s = [0.0] * 40, {}, 0.01
    total = 0.0
    for tick in range(int(last_s / step_s)):
        now_s = tick * step_s
        joules = board.watts(now_s) * step_s
        total += joules
        counter[tick] = total
        running = board.running(now_s)
        for key in running:
            truth[key] += joules / len(running)

    account, integrator = EnergyAccount(IdlePower()), Integrator()
    events = sorted(
        [(float(second), "read", -1) for second in range(int(last_s))]
        + [(begin_s, "begin", key) for key, (begin_s, _) in enumerate(board.requests)]
        + [(end_s, "end", key) for key, (_, end_s) in enumerate(board.requests)]
    )
    measured = [0.0] * 40

    def sample(now_s: float) -> None:
        watts = board.watts(now_s) * rng.gauss(1, 0.01)
        joules = counter[min(int(now_s / step_s), len(counter) - 1)] if kind == "counter" else None
        interval = integrator.add(PowerSample(at_s=now_s, watts=watts, joules=joules))
        if interval is not None:
            account.add(interval)

    for now_s, what, key in events:
        if what == "begin":
            account.begin(key, now_s)
        elif what == "end":
            sample(now_s - 1e-4)
            energy = account.end(key, now_s)
            assert energy is not None
            measured[key] = energy.joules
        else:
            sample(now_s)
    errors = [abs(got - true) / true for got, true in zip(measured, truth, strict=True)]
    assert max(errors) < 0.02
    assert account.total_joules == pytest.approx(total, rel=0.02)
