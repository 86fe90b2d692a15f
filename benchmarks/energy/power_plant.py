"""A board whose power is known at every moment, behind a meter that the daemon reads by a command.

The power is one number while a worker computes and another while none does, as the kernel's clock of each process
shows, looked at 1,000 times a second. What it was, and when, is kept: the truth that the daemon's joules are held
against. The board follows the worker within a look or two: what it draws in a burst of a tenth of a second is right to
about 1%. For a worker that another program has pushed aside, and that waits for a core, it goes on drawing.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Final

LOOK_S: Final = 0.001
BUSY_SHARE: Final = 0.5
"""Of a core, since the last look: a worker that does less only answers pings."""


@dataclass
class PowerLog:
    """Watts over time, in steps: `steps` are (from when on, watts), in their order; times are monotonic seconds."""

    steps: list[tuple[float, float]] = field(default_factory=list)

    def step(self, watts: float, at_s: float) -> bool:
        """From `at_s` on so much; whether that is new."""
        if self.steps and self.steps[-1][1] == watts:
            return False
        self.steps.append((at_s, watts))
        return True

    def joules(self, begin_s: float, end_s: float) -> float:
        """Between two moments. Before the first step there was nothing."""
        times = [at for at, _ in self.steps]
        inside = times[bisect_right(times, begin_s) : bisect_right(times, end_s)]
        return sum((later - earlier) * self.watts(earlier) for earlier, later in pairwise([begin_s, *inside, end_s]))

    def watts(self, at_s: float) -> float:
        found = bisect_right(self.steps, (at_s, float("inf")))
        return self.steps[found - 1][1] if found else 0.0

    def above(self, watts: float, begin_s: float, end_s: float) -> list[tuple[float, float]]:
        """(begin, end) of each time at more than `watts` between two moments."""
        inside = [at for at, _ in self.steps if begin_s < at < end_s]
        return [(one, other) for one, other in pairwise([begin_s, *inside, end_s]) if self.watts(one) > watts]


def shares(log: PowerLog, spans: Sequence[tuple[float, float]]) -> list[float]:
    """Joules of each of the works that ran in `spans` (begin, end): at each moment those that run share equally."""
    cuts = sorted({at for span in spans for at in span})
    found = [0.0] * len(spans)
    for begin, end in pairwise(cuts):
        running = [number for number, (first, last) in enumerate(spans) if first <= begin and end <= last]
        for number in running:
            found[number] += log.joules(begin, end) / len(running)
    return found


@dataclass
class Work:
    """Whether workers compute, out of one look at their clocks after another."""

    computes: bool = False
    _looked_s: float = 0.0
    _clocks: dict[int, float] = field(default_factory=dict)
    _at_work: set[int] = field(default_factory=set)
    """Those that have computed since the work began: to ask them all takes longer than a look."""

    def look(self, now_s: float, clocks: dict[int, float], wants: Callable[[Iterable[int]], bool]) -> bool:
        """`clocks`: seconds that each process has computed so far. `wants`: whether one of these would, if it had a
        core; asked only where they seem to have stopped. A process that is seen for the first time counts from then on.
        """
        used_s = {pid: clock - self._clocks.get(pid, clock) for pid, clock in clocks.items()}
        used = sum(used_s.values()) > BUSY_SHARE * (now_s - self._looked_s)
        if used:
            self._at_work |= {pid for pid, seconds in used_s.items() if seconds > 0}
        self.computes = used or (self.computes and wants(self._at_work))
        if not self.computes:
            self._at_work.clear()
        self._looked_s, self._clocks = now_s, clocks
        return self.computes


class PowerPlant:
    """Use as a context manager. `watts` says what the board draws, given whether a worker computes; `command` prints
    what it draws now."""

    def __init__(self, folder: Path, watts: Callable[[bool], float]) -> None:
        self.log = PowerLog()
        self.work = PowerLog()
        """1 while a worker computes, else 0."""
        self.pids: Sequence[int] = ()
        """The workers; to be set once they are there."""
        self._reading = folder / "watts"
        self._watts = watts
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.command = folder / "meter"
        self.command.write_text(f'#!/bin/sh\nread watts < "{self._reading}"\necho "$watts W"\n')
        self.command.chmod(0o755)
        self._draw(time.monotonic(), busy=False)

    def __enter__(self) -> PowerPlant:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def joules_of_work(self, begin_s: float, end_s: float) -> float:
        """What the board drew between two moments, in the times in which a worker computed."""
        return sum(self.log.joules(begin, end) for begin, end in self.work.above(0.0, begin_s, end_s))

    def _run(self) -> None:
        with contextlib.suppress(OSError):  # without the right to go first it notices late what other programs delay
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        work = Work()
        while not self._stop.wait(LOOK_S):
            pids, now_s = self.pids, time.monotonic()
            self._draw(now_s, busy=work.look(now_s, clocks(pids), wants_a_core))

    def _draw(self, now_s: float, *, busy: bool) -> None:
        self.work.step(float(busy), now_s)
        if self.log.step(self._watts(busy), now_s):
            part = self._reading.with_name("watts.part")
            part.write_text(f"{self._watts(busy)}\n")
            part.replace(self._reading)


def clocks(pids: Iterable[int]) -> dict[int, float]:
    """Seconds that each process has computed so far, with all its threads, to this moment: `clock_getcpuclockid` of
    Linux (include/linux/posix-timers_types.h: CPUCLOCK_SCHED). A process that is gone is left out."""
    found = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            found[pid] = time.clock_gettime(~pid << 3 | 2)
    return found


def wants_a_core(pids: Iterable[int]) -> bool:
    """Whether a thread of them runs or waits for a core: state R of `/proc/PID/task/TID/stat`."""
    for pid in pids:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                with contextlib.suppress(OSError):
                    if (task / "stat").read_text().rpartition(")")[2].split()[0] == "R":
                        return True
    return False
