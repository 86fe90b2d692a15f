"""How much of the processors a worker gets beside others: one that is only tried out gives way to those that serve.

Nothing here may fail: a worker that cannot give way serves as well. Where a process may not take back the niceness that
it gave away (no `LimitNICE=` in its unit, no CAP_SYS_NICE), only its session's group is made nicer, which anybody may
undo; where the kernel has no such groups either, nothing is.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Final

STEP: Final = 7
"""A worker so much nicer gets 17% of a core that another wants whole (sched(7): a factor of 1.25 for each level): the
other hardly feels it, and a long test still comes to its end."""
_NICEST: Final = 19
_CAP_SYS_NICE: Final = 23  # linux/capability.h
_ZERO_LIMIT: Final = 20  # getrlimit(2): a limit of 20 - n allows a niceness down to n
_LOOKS: Final = 3


def give_way(pid: int, *, proc: Path = Path("/proc")) -> bool:
    """Let the processes that serve go before all threads of `pid`. False where that is not possible at all."""
    level = min(_NICEST, _own() + STEP)
    grouped = _set_group(pid, min(_NICEST, STEP), proc)
    return (_set_threads(pid, level, proc) if may_take_back(proc) else False) or grouped


def take_turn(pid: int, *, proc: Path = Path("/proc")) -> bool:
    """Undo `give_way`. False if something was refused for the moment: try again a little later."""
    grouped = not (proc / str(pid) / "autogroup").exists() or _set_group(pid, 0, proc)
    return grouped and (not may_take_back(proc) or _set_threads(pid, _own(), proc))


def may_take_back(proc: Path = Path("/proc")) -> bool:
    """Whether a process of ours that was made nicer can be made as it was."""
    limit = getattr(resource, "RLIMIT_NICE", None)
    if limit is None:
        return False
    soft, _ = resource.getrlimit(limit)
    return soft == resource.RLIM_INFINITY or soft >= _ZERO_LIMIT - _own() or _privileged(proc)


def _own() -> int:
    return os.getpriority(os.PRIO_PROCESS, 0)


def _privileged(proc: Path) -> bool:
    try:
        lines = (proc / "self" / "status").read_text().splitlines()
        mask = next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff:"))
    except (OSError, ValueError, StopIteration):
        return False
    return bool(mask >> _CAP_SYS_NICE & 1)


def _set_threads(pid: int, level: int, proc: Path) -> bool:
    """Threads have a niceness each, and inherit that of the one that starts them: look again until none is new."""
    seen: set[int] = set()
    for _ in range(_LOOKS):
        fresh = set(_threads(pid, proc)) - seen
        if not fresh:
            return bool(seen)
        for thread in fresh:
            try:
                os.setpriority(os.PRIO_PROCESS, thread, level)
            except ProcessLookupError:
                continue
            except OSError:
                return False
        seen |= fresh
    return True


def _threads(pid: int, proc: Path) -> Iterator[int]:
    try:
        yield from (int(thread.name) for thread in (proc / str(pid) / "task").iterdir())
    except OSError:
        return


def _set_group(pid: int, level: int, proc: Path) -> bool:
    """The scheduler's group of the session (sched(7), "The autogroup feature"); a worker has a session of its own."""
    try:
        with (proc / str(pid) / "autogroup").open("r+") as file:
            file.write(str(level))
    except OSError:
        return False
    return True
