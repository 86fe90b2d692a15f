"""Joules per request: conserved, fair, and within 2% of what a simulated board spent."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.hardware.power.account import SEEN_HOLDS_S, Bill, EnergyAccount
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
    assert account.end("a", 10.0).energy().joules == pytest.approx(40 + 10)  # type: ignore[union-attr]
    assert account.end("b", 10.0).energy().joules == pytest.approx(30)  # type: ignore[union-attr]
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
    bill = account.end("a", 3.0)
    assert bill is not None
    energy = bill.energy()
    assert (energy.joules, energy.estimated_s) == (pytest.approx(6.0 + 3.0), pytest.approx(1.0))
    account.add(Interval(begin_s=2.0, end_s=4.0, joules=16.0, begin_watts=8.0, end_watts=8.0))
    assert account.request_joules == pytest.approx(28.0)
    assert (bill.energy().joules, bill.energy().estimated_s) == (pytest.approx(6.0 + 4.0), 0.0)


def test_time_without_a_reading_is_said_and_charged_nothing() -> None:
    account = EnergyAccount(IdlePower(2.0))
    account.begin("a", 5.0)
    account.add(counted(0.0, 20.0, None))
    bill = account.end("a", 25.0)
    assert bill is not None
    energy = bill.energy()
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


WORK = st.tuples(st.floats(0, 50), st.floats(0, 20), st.floats(0.1, 5))


@given(st.lists(WORK, max_size=8), st.lists(st.floats(0, 500), min_size=1, max_size=6), st.floats(0, 10))
def test_shares_add_up_to_what_was_measured(
    works: list[tuple[float, float, float]], energies: list[float], idle_watts: float
) -> None:
    account = EnergyAccount(IdlePower(idle_watts))
    for key, (begin_s, _, weight) in enumerate(works):
        account.begin(key, begin_s, weight=weight, payer=(str(key),))
    for key, (begin_s, length_s, _) in enumerate(works):
        account.end(key, begin_s + length_s)
    for number, joules in enumerate(energies):
        account.add(counted(number * 12.0, number * 12.0 + 12.0, joules))
    assert account.total_joules == pytest.approx(sum(energies))
    charged = account.joules_by_payer.values()
    assert sum(charged) == pytest.approx(account.request_joules)
    assert account.request_joules <= account.total_joules * (1 + 1e-9)
    assert all(joules >= 0 for joules in charged)


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
            bill = account.end(key, now_s)
            assert bill is not None
            measured[key] = bill.energy().joules
        else:
            sample(now_s)
    errors = [abs(got - true) / true for got, true in zip(measured, truth, strict=True)]
    assert max(errors) < 0.02
    assert account.total_joules == pytest.approx(total, rel=0.02)


SPEECH = ("whisper", "transcribe")


def test_waiting_in_a_worker_costs_nothing() -> None:
    """One is computed, then the other, as a worker of Whisper does; both came at once."""
    account = EnergyAccount(IdlePower(2.0))
    for key in ("first", "second"):
        account.begin(key, 0.0, payer=(key,), waits=True)
    account.begin("second", 1.0)  # known already
    account.compute("first", 1.0)
    account.add(counted(0.0, 3.0, 2.0 + 6.0 * 2))
    account.end("first", 4.0)
    account.compute("second", 4.0)
    account.compute("second", 5.0)  # it runs already
    account.end("second", 6.0)
    account.add(counted(3.0, 7.0, 6.0 * 3 + 2.0))
    assert account.joules_by_payer == {("first",): pytest.approx(18.0), ("second",): pytest.approx(12.0)}
    account.begin("gone", 7.0, waits=True)
    gone = account.end("gone", 8.0)
    account.add(counted(7.0, 9.0, 4.0))
    assert gone is not None
    assert (gone.energy().joules, account.total_joules - account.request_joules) == (0.0, pytest.approx(4.0 + 4.0))


def test_a_reading_while_a_worker_may_have_begun_is_taken_for_neither_work_nor_rest() -> None:
    idle = IdlePower()
    account = EnergyAccount(idle)
    account.add(watts_between(0.0, 1.0, 2.0, 2.0))
    account.begin("held", 1.9, payer=SPEECH, waits=True)
    account.add(watts_between(1.0, 2.0, 2.0, 6.0))  # it had begun, and its word is on the way
    assert idle.watts == pytest.approx(2.0)
    account.compute("held", 1.95)
    account.add(watts_between(2.0, 3.0, 6.0, 6.0))
    account.end("held", 3.5)
    account.add(watts_between(3.0, 4.0, 6.0, 2.0))
    assert idle.watts == pytest.approx(2.0)
    assert account.request_joules == pytest.approx(6.0 * 1.5)
    assert account.total_joules - account.request_joules == pytest.approx(2.0 * 2.5)


@pytest.mark.parametrize(
    ("work_watts", "told_by_worker", "error"), [(0.0, True, 0.0), (4.0, True, 0.0), (0.0, False, 0.1)]
)
def test_pieces_of_a_recording_pay_for_their_computing_and_not_for_their_way(
    work_watts: float, told_by_worker: bool, error: float
) -> None:
    """40 ms of each are computed, and 2 ms pass on the way to the worker, and back. Without the worker's word a piece
    pays for its way, too."""
    board = SimulatedBoard(active=work_watts)
    account, integrator = EnergyAccount(IdlePower()), Integrator()
    bills: list[Bill | None] = []
    for tick in range(10_000):
        now_s = tick * 0.002
        if tick % 599 == 10:  # meets now a piece, now a pause, as it happens
            watts = board.watts(now_s - 0.005)
            interval = integrator.add(PowerSample(at_s=now_s - 0.010, watts=watts, took_s=0.010))
            if interval is not None:
                account.add(interval)
        key, step = divmod(tick, 37)
        if step == 0:
            board.requests = [(now_s + 0.002, now_s + 0.042)]
            account.begin(key, now_s, payer=SPEECH, waits=told_by_worker)
        elif step == 2 and told_by_worker:
            account.compute(key, now_s - 0.002)
        elif step == 22:
            bills.append(account.end(key, now_s - 0.002 if told_by_worker else now_s))
    told = sum(bill.energy().joules for bill in bills if bill is not None)
    assert told / (len(bills) * 0.040 * (board.idle + work_watts)) - 1 == pytest.approx(error, abs=0.005)


def watts_between(begin_s: float, end_s: float, begin_watts: float, end_watts: float) -> Interval:
    joules = (begin_watts + end_watts) / 2 * (end_s - begin_s)
    return Interval(begin_s=begin_s, end_s=end_s, joules=joules, begin_watts=begin_watts, end_watts=end_watts)


def work(account: EnergyAccount, begin_s: float, end_s: float, payer: tuple[str, ...] = SPEECH) -> Bill:
    account.begin(begin_s, begin_s, payer=payer)
    bill = account.end(begin_s, end_s)
    assert bill is not None
    return bill


def test_work_that_no_reading_met_is_charged_once_its_kind_was_read() -> None:
    account = EnergyAccount(IdlePower(2.0))
    early = work(account, 0.2, 0.5)
    account.add(watts_between(0.0, 1.0, 2.0, 2.0))
    assert early.energy().blind_s == pytest.approx(0.3)
    account.begin("read", 1.9, payer=SPEECH)
    account.add(watts_between(1.0, 2.0, 2.0, 6.0))
    assert (early.energy().joules, early.energy().blind_s) == (pytest.approx(0.3 * 6.0), pytest.approx(0.0))
    assert account.total_joules == pytest.approx(2.0 * 1.6 + 6.0 * 0.4)
    assert account.request_joules == account.joules_by_payer[SPEECH] == pytest.approx(6.0 * 0.4)


def test_what_was_read_holds_for_the_next_of_its_kind_for_a_while_and_for_no_other() -> None:
    account = EnergyAccount(IdlePower(2.0))
    account.begin("read", 0.5, payer=SPEECH)
    account.add(watts_between(0.0, 1.0, 2.0, 6.0))
    account.end("read", 1.2)
    same, other = work(account, 1.5, 1.7), work(account, 1.8, 1.9, ("chat", "generate"))
    assert (same.energy().joules, same.energy().blind_s) == (pytest.approx(0.2 * 6.0), 0.0)  # before any reading
    account.add(watts_between(1.0, 2.0, 6.0, 2.0))
    assert (same.energy().joules, same.energy().blind_s) == (pytest.approx(0.2 * 6.0), 0.0)
    # The other's time is charged what was read at work in the same second, which is nearer than the power at rest.
    assert (other.energy().joules, other.energy().blind_s) == (pytest.approx(0.1 * 6.0), 0.0)
    account.add(watts_between(2.0, 3.0 + SEEN_HOLDS_S, 2.0, 2.0))
    late = work(account, 4.0 + SEEN_HOLDS_S, 4.5 + SEEN_HOLDS_S)
    assert late.energy().blind_s == pytest.approx(0.5)


def test_a_reading_in_which_work_began_is_taken_for_neither() -> None:
    account = EnergyAccount(IdlePower(2.0))
    interval = Interval(
        begin_s=0.0, end_s=1.0, joules=3.0, begin_watts=2.0, end_watts=4.0, begin_took_s=0.02, end_took_s=0.02
    )
    bill = work(account, 0.5, 0.7)
    account.begin("during", 1.01, payer=SPEECH)
    account.add(interval)
    assert bill.energy().blind_s == pytest.approx(0.2)


@pytest.mark.parametrize(("idle_watts", "charged"), [(2.0, 2.0), (0.0, 2.0)])
def test_work_that_ends_while_it_is_read_does_not_pay_for_the_long_rest_before(
    idle_watts: float, charged: float
) -> None:
    """Watts of a reading that is neither work nor rest say nothing of the time since the one before."""
    account = EnergyAccount(IdlePower(idle_watts))
    bill = work(account, 9.9, 10.01)
    account.add(Interval(begin_s=0.0, end_s=10.0, joules=40.0, begin_watts=2.0, end_watts=6.0, end_took_s=0.02))
    assert account.request_joules == pytest.approx(0.1 * charged)
    assert account.total_joules == pytest.approx(2.0 * 9.9 + charged * 0.1)
    account.begin("read", 10.5, payer=SPEECH)
    account.add(watts_between(10.0, 11.0, 6.0, 6.0))  # now it is known what it drew
    assert bill.energy().joules == pytest.approx(6.0 * 0.11)
    assert account.request_joules == pytest.approx(6.0 * (0.11 + 0.5))


@pytest.mark.parametrize("piece_s", [0.05, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_short_pieces_of_a_recording_are_within_2_percent_with_a_reading_each_second(piece_s: float, seed: int) -> None:
    """Pauses between them as long as pieces; a reading takes 10 ms, and meets a piece or a pause as it happens."""
    rng = random.Random(seed)
    board = SimulatedBoard()
    at_s = 5.0
    while at_s < 30.0:
        board.requests.append((at_s, at_s + piece_s * rng.uniform(0.7, 1.3)))
        at_s = board.requests[-1][1] + piece_s * rng.uniform(0.7, 1.3)
    account, integrator = EnergyAccount(IdlePower()), Integrator()
    events = [(begin_s, "begin", key) for key, (begin_s, _) in enumerate(board.requests)]
    events += [(end_s, "end", key) for key, (_, end_s) in enumerate(board.requests)]
    read_s, bills = 0.0, []
    while read_s < 35.0:
        events.append((read_s + 0.010, "read", 0))
        read_s += rng.uniform(1.0, 1.1)
    for now_s, what, key in sorted(events):
        if what == "begin":
            account.begin(key, now_s, payer=SPEECH)
        elif what == "end":
            bill = account.end(key, now_s)
            assert bill is not None
            bills.append(bill)
        else:
            watts = board.watts(now_s - 0.010 * rng.random())
            interval = integrator.add(PowerSample(at_s=now_s - 0.010, watts=watts, took_s=0.010))
            if interval is not None:
                account.add(interval)
    told = [bill.energy() for bill in bills]
    truth = [(end_s - begin_s) * (board.idle + board.active) for begin_s, end_s in board.requests]
    assert max(energy.blind_s for energy in told) == pytest.approx(0.0)
    assert sum(energy.joules for energy in told) == pytest.approx(sum(truth), rel=0.02)
