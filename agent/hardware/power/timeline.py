"""Which requests ran when: the time between two readings, cut into stretches. Decisions only."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import Final

from agent.hardware.power.seen import Payer, Running, State

MOST_ENDED: Final = 1000
"""Requests that are over and wait for their last second to be measured; more wait only for a meter that is broken."""


@dataclass(eq=False, kw_only=True)
class Work:
    """One request. A worker has it since `came_s` and computes it from `begin_s` to `end_s`; they are infinite as long
    as nobody knows. The rest is its bill so far, as `RequestEnergy` has it."""

    payer: Payer
    weight: float
    came_s: float
    begin_s: float = inf
    end_s: float = inf
    joules: float = 0.0
    measured_s: float = 0.0
    missing_s: float = 0.0
    blind_s: float = 0.0

    def runs_throughout(self, begin_s: float, end_s: float) -> bool:
        return self.begin_s <= begin_s and end_s <= self.end_s

    def runs_within(self, begin_s: float, end_s: float) -> bool:
        """For a part of that time, at least."""
        return self.begin_s < end_s and begin_s < self.end_s

    def waits_within(self, begin_s: float, end_s: float) -> bool:
        return self.came_s < end_s and begin_s < min(self.begin_s, self.end_s)


@dataclass(frozen=True)
class Stretch:
    """A time in which the same requests ran all the while; none where it is rest."""

    begin_s: float
    end_s: float
    running: tuple[Work, ...] = ()

    @property
    def duration_s(self) -> float:
        return self.end_s - self.begin_s

    @property
    def payers(self) -> Running:
        return tuple(sorted(work.payer for work in self.running))

    def share(self, work: Work) -> float:
        """Of what was drawn in this time, from 0 to 1; 0 for a request that does not run in it."""
        return work.weight / sum(one.weight for one in self.running) if work in self.running else 0.0


class Timeline:
    """The requests that workers have, and those that are over but not measured yet."""

    def __init__(self) -> None:
        self._open: dict[Hashable, Work] = {}
        self._ended: list[Work] = []

    def __iter__(self) -> Iterator[Work]:
        yield from self._open.values()
        yield from self._ended

    @property
    def running(self) -> int:
        return sum(work.begin_s < inf for work in self._open.values())

    def get(self, key: Hashable) -> Work | None:
        """None where no worker has it."""
        return self._open.get(key)

    def add(self, key: Hashable, work: Work) -> None:
        """A key that is there already stays as it is."""
        self._open.setdefault(key, work)

    def begin(self, key: Hashable, at_s: float) -> None:
        """One that waited is computed since `at_s`. Any other key stays as it is."""
        work = self._open.get(key)
        if work is not None and work.begin_s == inf:
            work.begin_s = max(work.came_s, at_s)

    def end(self, key: Hashable, at_s: float) -> Work | None:
        work = self._open.pop(key, None)
        if work is None:
            return None
        if work.begin_s == inf:  # it has only waited
            work.begin_s = max(work.came_s, at_s)
        work.end_s = max(work.begin_s, at_s)
        self._ended = [*self._ended[-MOST_ENDED:], work]
        return work

    def forget(self, measured_to_s: float) -> None:
        """What ended by then is paid for."""
        self._ended = [work for work in self._ended if work.end_s > measured_to_s]

    def stretches(self, begin_s: float, end_s: float) -> list[Stretch]:
        """The time cut wherever a request begins or ends."""
        cuts = {at_s for work in self for at_s in (work.begin_s, work.end_s) if begin_s < at_s < end_s}
        return [
            Stretch(one_s, other_s, tuple(work for work in self if work.runs_throughout(one_s, other_s)))
            for one_s, other_s in pairwise(sorted({begin_s, end_s, *cuts}))
        ]

    def state(self, begin_s: float, end_s: float) -> State:
        """Of the board while a reading was taken, from `begin_s` to `end_s`.

        A worker that has got a request, and nothing else to do, may be reading it, or compute already and not have
        said so yet: that is neither work nor rest.
        """
        within = [work for work in self if work.runs_within(begin_s, end_s)]
        throughout = [work for work in within if work.runs_throughout(begin_s, end_s)]
        if throughout:
            same = len(throughout) == len(within)
            return State(busy=True, running=tuple(sorted(work.payer for work in within)) if same else None)
        if within or any(work.waits_within(begin_s, end_s) for work in self):
            return State(busy=None, running=None)
        return State(busy=False, running=())
