"""What a process got of the processors: how long its threads ran, and how long they were ready to while others ran.

From `/proc/PID/task/TID/schedstat` (Linux, Documentation/scheduler/sched-stats.rst): nanoseconds on a processor,
nanoseconds in its queue, and turns.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agent.hardware import sysfile


@dataclass(frozen=True)
class Turns:
    """Of all threads that it has now, since each began."""

    ran_s: float
    waited_s: float

    def starved_since(self, before: Turns, passed_s: float) -> bool:
        """Whether it mostly waited for others in the `passed_s` seconds since `before`: it wanted to run for half of
        that time or more and could not, and that was more than it ran."""
        ran_s, waited_s = self.ran_s - before.ran_s, self.waited_s - before.waited_s
        return waited_s > ran_s and waited_s >= passed_s / 2


def parse_schedstat(text: str) -> Turns | None:
    """Of one thread."""
    fields = text.split()
    if len(fields) < 2 or not (fields[0].isdecimal() and fields[1].isdecimal()):
        return None
    return Turns(int(fields[0]) / 1e9, int(fields[1]) / 1e9)


def read_turns(pid: int, root: Path = Path("/")) -> Turns | None:
    """None where the process has ended, or the kernel does not count this."""
    tasks = root / "proc" / str(pid) / "task"
    try:
        threads = [path.name for path in tasks.iterdir()]
    except OSError:
        return None
    found = [parse_schedstat(sysfile.read_text(tasks / thread / "schedstat") or "") for thread in threads]
    known = [one for one in found if one is not None]
    return Turns(sum(one.ran_s for one in known), sum(one.waited_s for one in known)) if known else None
