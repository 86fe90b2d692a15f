"""A board whose power is known at every moment, behind a meter that the daemon reads by a command.

The power is one number while a worker computes and another while none does, as the kernel's clock of each thread shows
(`/proc/PID/task/TID/schedstat`), looked at 100 times a second. What it was, and when, is kept: the truth that the
daemon's joules are held against.
"""

from __future__ import annotations

import contextlib
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import TracebackType

LOOK_S = 0.01
BUSY_SHARE = 0.1
"""Of a core, since the last look: a worker that does less only answers pings."""
HOLD_S = 0.025
"""A thread that was pushed aside for a moment by another program has not stopped."""


@dataclass
class PowerLog:
    """Watts over time, in steps: `steps` are (from when on, watts), in their order; times are monotonic seconds."""

    steps: list[tuple[float, float]] = field(default_factory=list)

    def step(self, watts: float) -> bool:
        """From now on so much; whether that is new."""
        if self.steps and self.steps[-1][1] == watts:
            return False
        self.steps.append((time.monotonic(), watts))
        return True

    def joules(self, begin_s: float, end_s: float) -> float:
        """Between two moments. Before the first step there was nothing."""
        times = [at for at, _ in self.steps]
        inside = times[bisect_right(times, begin_s) : bisect_right(times, end_s)]
        return sum((later - earlier) * self.watts(earlier) for earlier, later in pairwise([begin_s, *inside, end_s]))

    def watts(self, at_s: float) -> float:
        found = bisect_right(self.steps, (at_s, float("inf")))
        return self.steps[found - 1][1] if found else 0.0

    def above(self, watts: float) -> list[tuple[float, float]]:
        """(begin, end) of each time at more than `watts`; the last one may not have ended, and is left out."""
        return [(begin, end) for (begin, drawn), (end, _) in pairwise(self.steps) if drawn > watts]


def shares(log: PowerLog, spans: Sequence[tuple[float, float]]) -> list[float]:
    """Joules of each of the works that ran in `spans` (begin, end): at each moment those that run share equally."""
    cuts = sorted({at for span in spans for at in span})
    found = [0.0] * len(spans)
    for begin, end in pairwise(cuts):
        running = [number for number, (first, last) in enumerate(spans) if first <= begin and end <= last]
        for number in running:
            found[number] += log.joules(begin, end) / len(running)
    return found


class PowerPlant:
    """Use as a context manager. `watts` says what the board draws, given whether a worker computes; `command` prints
    what it draws now."""

    def __init__(self, folder: Path, watts: Callable[[bool], float]) -> None:
        self.log = PowerLog()
        self.work = PowerLog()
        """1 while a worker computes, else 0."""
        self.pids: list[int] = []
        """The workers; to be set once they are there."""
        self._reading = folder / "watts"
        self._watts = watts
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.command = folder / "meter"
        self.command.write_text(f'#!/bin/sh\nread watts < "{self._reading}"\necho "$watts W"\n')
        self.command.chmod(0o755)
        self._draw(busy=False)

    def __enter__(self) -> PowerPlant:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        looked_s, used_s, busy_s = time.monotonic(), 0.0, float("-inf")
        while not self._stop.wait(LOOK_S):
            now_s, total_s = time.monotonic(), sum(map(_computed_s, self.pids))
            if total_s - used_s > BUSY_SHARE * (now_s - looked_s) and used_s:
                busy_s = now_s
            looked_s, used_s = now_s, total_s
            self._draw(busy=now_s - busy_s < HOLD_S)

    def _draw(self, *, busy: bool) -> None:
        self.work.step(float(busy))
        if self.log.step(self._watts(busy)):
            part = self._reading.with_name("watts.part")
            part.write_text(f"{self._watts(busy)}\n")
            part.replace(self._reading)


def _computed_s(pid: int) -> float:
    """By all threads so far; 0 for a process that is gone."""
    total_ns = 0
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                total_ns += int((task / "schedstat").read_text().split()[0])
    return total_ns / 1e9
