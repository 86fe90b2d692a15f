"""On which CPUs the operating system runs a worker's threads.

Only that. Workers stay SCHED_OTHER: as SCHED_BATCH a model's threads, which sleep and wake for every token, no longer
push other programs off a CPU, and wait for their turn each time. Beside twenty busy processes on two cores that took
8% and 40% of the decoding speed of a small model in two runs, and the daemon answered no sooner.

Nothing here may fail: a worker that cannot be arranged serves as well.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LOOKS: Final = 3


@dataclass(frozen=True, kw_only=True)
class Arrangement:
    """What was done. `threads` is how many there were; `cpus` where they were bound to, None where not."""

    threads: int
    cpus: frozenset[int] | None


def arrange(pid: int, cpus: frozenset[int] | None, *, proc: Path = Path("/proc")) -> Arrangement:
    """All threads of the process `pid`; those that it starts later inherit it."""
    done: set[int] = set()
    bound = True
    for _ in range(_LOOKS):  # a thread may start another while we look
        fresh = set(_threads(pid, proc)) - done
        if not fresh:
            break
        for thread in fresh:
            bound = _bind(thread, cpus) and bound
        done |= fresh
    return Arrangement(threads=len(done), cpus=cpus if bound and done else None)


def _bind(thread: int, cpus: frozenset[int] | None) -> bool:
    if sys.platform != "linux" or cpus is None:
        return False
    try:
        os.sched_setaffinity(thread, cpus)
    except ProcessLookupError:
        return True
    except (OSError, ValueError):  # none of them is in the control group's set
        return False
    return True


def _threads(pid: int, proc: Path) -> Iterator[int]:
    try:
        yield from (int(thread.name) for thread in (proc / str(pid) / "task").iterdir())
    except (OSError, ValueError):
        return
