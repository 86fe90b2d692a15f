"""Whose energy it was: joules shared among the requests that ran meanwhile. Decisions only.

The rule. At each moment the board draws its idle power plus what the work adds. Both are divided among the requests
that run at that moment by their weights, equally where all weigh the same; while none runs they belong to nobody. So
nothing is counted twice, the shares add up to what was measured, two requests that do the same pay the same, and one
that runs beside others pays less than alone, as it should: the weights of the model are read once for all of them.
Sharing a joint cost equally among equals is its Shapley value (Shapley, 1953; for the energy of programs: Dong, Lan,
Zhong, "Rethink Energy Accounting with Cooperative Game Theory", MobiCom 2014).

A meter of the board cannot tell our work from another program's: what others draw while a request runs is charged
to the request.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from agent.hardware.power.energy import IdlePower, Interval

MOST_ENDED: Final = 1000
"""Requests that are over and wait for their last second to be measured; more wait only for a meter that is broken."""

Payer = tuple[str, ...]
"""Whoever is charged: a model, and what it does."""


@dataclass(frozen=True, kw_only=True)
class RequestEnergy:
    """`joules` in all; of its time, `measured_s` lies between two samples, `estimated_s` ran after the last one and was
    charged at the power seen then, and in `missing_s` no meter could be read, which is charged nothing."""

    joules: float
    measured_s: float = 0.0
    estimated_s: float = 0.0
    missing_s: float = 0.0


@dataclass(eq=False)
class _Work:
    weight: float
    begin_s: float
    payer: Payer = ()
    end_s: float | None = None
    joules: float = 0.0
    measured_s: float = 0.0
    missing_s: float = 0.0


@dataclass(frozen=True)
class _Segment:
    begin_s: float
    end_s: float
    running: tuple[_Work, ...] = field(default=())

    @property
    def duration_s(self) -> float:
        return self.end_s - self.begin_s


class EnergyAccount:
    """Begin and end requests, add the intervals of an `Integrator` in their order."""

    def __init__(self, idle: IdlePower) -> None:
        self._idle = idle
        self._works: dict[Hashable, _Work] = {}
        self._ended: list[_Work] = []
        self._last: Interval | None = None
        self.total_joules = 0.0
        """All that was measured, requests or not."""
        self.request_joules = 0.0
        """What requests were charged out of it. Never falls."""
        self.joules_by_payer: dict[Payer, float] = {}
        """The same, by who pays: `llm_joules_total`."""
        self.missing_s = 0.0
        """Time without a reading."""

    @property
    def running(self) -> int:
        return len(self._works)

    def begin(self, key: Hashable, now_s: float, *, weight: float = 1.0, payer: Payer = ()) -> None:
        """Work for `key` starts. A second begin of a running key changes nothing. `payer` is whose total it goes to."""
        if weight <= 0:
            raise ValueError(f"weight {weight} is not above 0")
        self._works.setdefault(key, _Work(weight, now_s, payer))

    def end(self, key: Hashable, now_s: float) -> RequestEnergy | None:
        """Work for `key` is over. None for a key that does not run.

        What ran after the last interval is estimated, since its measure comes later; the totals take the measure.
        """
        work = self._works.pop(key, None)
        if work is None:
            return None
        work.end_s = max(now_s, work.begin_s)
        self._ended = [*self._ended[-MOST_ENDED:], work]
        tail_s, tail_joules = self._tail(work)
        return RequestEnergy(
            joules=work.joules + tail_joules,
            measured_s=work.measured_s,
            estimated_s=tail_s,
            missing_s=work.missing_s,
        )

    def add(self, interval: Interval) -> None:
        """Share `interval` among the requests that ran in it."""
        self._last = interval
        segments = list(self._segments(interval))
        busy = [segment for segment in segments if segment.running]
        if not busy:
            self._idle.learn(interval)
        joules = interval.joules
        if joules is None:
            self.missing_s += interval.duration_s
            for segment in busy:
                for work in segment.running:
                    work.missing_s += segment.duration_s
        else:
            charges = self._charges(interval, joules, segments)
            self.total_joules += sum(charges)
            for segment, charge in zip(segments, charges, strict=True):
                weights = sum(work.weight for work in segment.running)
                for work in segment.running:
                    share = charge * work.weight / weights
                    work.joules += share
                    work.measured_s += segment.duration_s
                    self.joules_by_payer[work.payer] = self.joules_by_payer.get(work.payer, 0.0) + share
                self.request_joules += charge if segment.running else 0.0
        self._ended = [work for work in self._ended if work.end_s is None or work.end_s > interval.end_s]

    def _charges(self, interval: Interval, joules: float, segments: list[_Segment]) -> list[float]:
        """Joules of each segment. They add up to `joules`, except where the power stepped between two readings of
        watts because work began or ended: there each side has the power read on it, which is nearer than a slope."""
        working = [bool(segment.running) for segment in segments]
        begin_watts, end_watts = interval.begin_watts, interval.end_watts
        if begin_watts is not None and end_watts is not None and working[0] != working[-1]:
            return [
                segment.duration_s * (begin_watts if state == working[0] else end_watts)
                for segment, state in zip(segments, working, strict=True)
            ]
        duration_s = interval.duration_s
        busy_s = sum(segment.duration_s for segment in segments if segment.running)
        if busy_s == 0 or self._idle.watts is None:
            return [joules * segment.duration_s / duration_s for segment in segments]
        idle_joules = min(joules, self._idle.watts * duration_s)
        return [
            idle_joules * segment.duration_s / duration_s
            + ((joules - idle_joules) * segment.duration_s / busy_s if segment.running else 0.0)
            for segment in segments
        ]

    def _segments(self, interval: Interval) -> Iterator[_Segment]:
        """`interval` cut where a request begins or ends."""
        works = [*self._works.values(), *self._ended]
        inside = {at for work in works for at in (work.begin_s, work.end_s) if at is not None}
        cuts = sorted(
            {interval.begin_s, interval.end_s, *(at for at in inside if interval.begin_s < at < interval.end_s)}
        )
        for begin_s, end_s in pairwise(cuts):
            running = tuple(
                work for work in works if work.begin_s <= begin_s and (work.end_s is None or work.end_s >= end_s)
            )
            yield _Segment(begin_s, end_s, running)

    def _tail(self, work: _Work) -> tuple[float, float]:
        """Seconds and joules of `work` after the last interval, at the power at its end."""
        last = self._last
        if last is None or last.joules is None or work.end_s is None or last.duration_s <= 0:
            return 0.0, 0.0
        watts = last.end_watts if last.end_watts is not None else last.joules / last.duration_s
        tail = Interval(begin_s=last.end_s, end_s=max(last.end_s, work.end_s), joules=0.0)
        joules = sum(
            watts * segment.duration_s * work.weight / sum(one.weight for one in segment.running)
            for segment in self._segments(tail)
            if work in segment.running
        )
        return max(0.0, work.end_s - max(last.end_s, work.begin_s)), joules
