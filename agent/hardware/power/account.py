"""Whose energy it was: joules shared among the requests that ran meanwhile. Decisions only.

The time between two readings of the meter is cut wherever a request begins or ends (`timeline`). In a stretch k of t_k
seconds the same requests R_k run, and the board draws P_k watts (`charges`). Request r, of weight w_r, pays

    E_r = sum over the stretches k in which it runs of   P_k * t_k * w_r / (sum of w_q over all q in R_k)

and stretches in which nothing runs are nobody's. So nothing is counted twice: what requests pay, and what is nobody's,
add up to what was measured. The idle power of the board is a part of P_k: whoever runs pays for that, too. Two requests
that do the same pay the same, and one that runs beside others pays less than alone, as it should: the weights of the
model are read once for all of them. Sharing a joint cost equally among equals is its Shapley value (Shapley, 1953; for
the energy of programs: Dong, Lan, Zhong, "Rethink Energy Accounting with Cooperative Game Theory", MobiCom 2014).

P_k comes from one of two kinds of meter:

- One that counts joules: J of them in T seconds, B of which had work. P_k is the idle power where nothing runs, and
  (J - idle * T) / B more where requests do.
- One that says watts: what was read while just R_k ran, at an end of the interval or up to `SEEN_HOLDS_S` before or
  after (`seen`). Until such a reading comes, work that nobody has looked at pays the power at rest, and its time is
  said to be blind.

A request runs while its worker computes it, by the worker's clock: what it waits in the worker, and what its messages
take from process to process, costs nothing. After the last reading a bill is an estimate, until the next one.

A meter of the board cannot tell our work from another program's: what others draw while a request runs is charged
to the request.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from math import inf
from typing import Final

from agent.hardware.power.charges import Charge, charges_of_counter, charges_of_watts
from agent.hardware.power.energy import LONGEST_GAP_S, IdlePower, Interval
from agent.hardware.power.seen import Payer, Reading, SeenPower
from agent.hardware.power.timeline import MOST_ENDED, Stretch, Timeline, Work

SEEN_HOLDS_S: Final = LONGEST_GAP_S
_MOMENT_S: Final = 1e-6

Readings = tuple[Reading, Reading]
"""The watts at both ends of an interval."""


@dataclass(frozen=True, kw_only=True)
class RequestEnergy:
    """`joules` in all; of its time, `measured_s` lies between two samples, `estimated_s` ran after the last one and was
    charged at the power seen before, and in `missing_s` no meter could be read, which is charged nothing. For `blind_s`
    of the first two nothing was read while the board worked: what was charged is too little."""

    joules: float = 0.0
    measured_s: float = 0.0
    estimated_s: float = 0.0
    missing_s: float = 0.0
    blind_s: float = 0.0


class Bill:
    """What a request cost that is over. It is asked for whenever it is wanted: what ran after the last reading is
    estimated until the next one."""

    def __init__(self, account: EnergyAccount, work: Work) -> None:
        self._account = account
        self._work = work

    def energy(self) -> RequestEnergy:
        return self._account.energy_of(self._work)


class EnergyAccount:
    """Begin and end requests, add the intervals of an `Integrator` in their order."""

    def __init__(self, idle: IdlePower) -> None:
        self._idle = idle
        self._seen = SeenPower(SEEN_HOLDS_S)
        self._timeline = Timeline()
        self._blind: deque[tuple[Stretch, float]] = deque(maxlen=MOST_ENDED)
        """Stretches of work that nobody has looked at, and the joules that they were charged."""
        self._last: tuple[Interval, Readings | None] | None = None
        self.total_joules = 0.0
        """All that was measured, requests or not."""
        self.request_joules = 0.0
        """What requests were charged out of it. Never falls."""
        self.joules_by_payer: dict[Payer, float] = {}
        """The same, by who pays: `llm_joules_total`."""
        self.missing_s = 0.0
        """Time without a reading."""

    # Requests

    @property
    def running(self) -> int:
        """Requests that are computed."""
        return self._timeline.running

    def begin(
        self, key: Hashable, now_s: float, *, weight: float = 1.0, payer: Payer = (), waits: bool = False
    ) -> None:
        """A worker has `key`, and computes it; one that `waits`, from `compute` on. A second begin of a key changes
        nothing. `payer` is whose total it goes to."""
        if weight <= 0:
            raise ValueError(f"weight {weight} is not above 0")
        self._timeline.add(key, Work(payer=payer, weight=weight, came_s=now_s, begin_s=inf if waits else now_s))

    def compute(self, key: Hashable, at_s: float) -> None:
        """`key` has waited until `at_s`."""
        self._timeline.begin(key, at_s)

    def end(self, key: Hashable, at_s: float) -> Bill | None:
        """Work for `key` is over. None for a key that does not run."""
        work = self._timeline.end(key, at_s)
        return None if work is None else Bill(self, work)

    def payer(self, key: Hashable) -> Payer | None:
        """None for a key that no worker has."""
        work = self._timeline.get(key)
        return None if work is None else work.payer

    def began_s(self, key: Hashable) -> float | None:
        """When work for `key` started, infinite where it waits; None for a key that no worker has."""
        work = self._timeline.get(key)
        return None if work is None else work.begin_s

    def sees(self, payer: Payer, since_s: float) -> bool:
        """Whether the power of such work, running alone, was read after `since_s`."""
        return self._seen.seen_s((payer,)) > since_s

    # Joules

    def add(self, interval: Interval) -> None:
        """Share `interval` among the requests that ran in it."""
        stretches = self._timeline.stretches(interval.begin_s, interval.end_s)
        ends = self._readings(interval)
        if not any(one.running for one in stretches) and all(one.state.busy is False for one in ends or ()):
            self._idle.learn(interval)
        if interval.joules is None:
            self._miss(stretches)
        elif ends is None:
            self._charge(stretches, charges_of_counter(interval.joules, stretches, self._idle.watts))
        else:
            for reading in ends:
                self._seen.add(reading)
            self._charge(stretches, charges_of_watts(ends, stretches, self._seen, self._idle.watts))
        self._look_back(interval.end_s)
        self._last = interval, ends
        self._timeline.forget(interval.end_s)

    def energy_of(self, work: Work) -> RequestEnergy:
        """As far as it is known by now."""
        tail = self._tail(work)
        return RequestEnergy(
            joules=work.joules + tail.joules,
            measured_s=work.measured_s,
            estimated_s=tail.estimated_s,
            missing_s=work.missing_s,
            blind_s=work.blind_s + tail.blind_s,
        )

    def _readings(self, interval: Interval) -> Readings | None:
        """None for a counter's interval."""
        if interval.begin_watts is None or interval.end_watts is None:
            return None
        begin_s, end_s = interval.begin_s, interval.end_s
        first = self._timeline.state(begin_s, begin_s + max(interval.begin_took_s, _MOMENT_S))
        last = self._timeline.state(end_s - _MOMENT_S, end_s + interval.end_took_s)
        return (
            Reading(at_s=begin_s, watts=interval.begin_watts, state=first),
            Reading(at_s=end_s, watts=interval.end_watts, state=last),
        )

    def _miss(self, stretches: list[Stretch]) -> None:
        for stretch in stretches:
            self.missing_s += stretch.duration_s
            for work in stretch.running:
                work.missing_s += stretch.duration_s

    def _charge(self, stretches: list[Stretch], charges: list[Charge]) -> None:
        for stretch, charge in zip(stretches, charges, strict=True):
            self._book(stretch, charge.joules)
            for work in stretch.running:
                work.measured_s += stretch.duration_s
                work.blind_s += stretch.duration_s if charge.blind else 0.0
            if charge.blind:
                self._blind.append((stretch, charge.joules))

    def _book(self, stretch: Stretch, joules: float) -> None:
        self.total_joules += joules
        if stretch.running:
            self.request_joules += joules
        for work in stretch.running:
            share = joules * stretch.share(work)
            work.joules += share
            self.joules_by_payer[work.payer] = self.joules_by_payer.get(work.payer, 0.0) + share

    def _look_back(self, now_s: float) -> None:
        """What nobody had looked at may have been seen since: then it is charged what it lacked."""
        waiting = [one for one in self._blind if one[0].end_s >= now_s - SEEN_HOLDS_S]
        self._blind.clear()
        for stretch, charged in waiting:
            watts = self._seen.watts(stretch.payers, now_s)
            if watts is None:
                self._blind.append((stretch, charged))
                continue
            self._book(stretch, max(0.0, watts * stretch.duration_s - charged))
            for work in stretch.running:
                work.blind_s -= stretch.duration_s

    def _tail(self, work: Work) -> RequestEnergy:
        """Of the time of `work` after the last interval: at the power seen while the same ran, else at that of the last
        interval's end. Blind where that was not read while the board worked."""
        if self._last is None:
            return RequestEnergy()
        interval, ends = self._last
        begin_s = max(interval.end_s, work.begin_s)
        if interval.joules is None or work.end_s <= begin_s:
            return RequestEnergy()
        joules = blind_s = 0.0
        for stretch in self._timeline.stretches(begin_s, work.end_s):
            if ends is None:
                watts, looked = interval.joules / interval.duration_s, work.measured_s > 0
            else:
                seen = self._seen.watts(stretch.payers, stretch.end_s)
                watts = ends[1].watts if seen is None else seen
                looked = seen is not None or ends[1].state.busy is True
            joules += watts * stretch.duration_s * stretch.share(work)
            blind_s += 0.0 if looked else stretch.duration_s
        return RequestEnergy(joules=joules, estimated_s=work.end_s - begin_s, blind_s=blind_s)
