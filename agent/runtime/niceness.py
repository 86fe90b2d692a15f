"""How much of the processors a process gets beside others: who is tried out or only fetches gives way, who records
sound goes first.

Nothing here may fail: a process that cannot change its place works as well. Niceness is of threads, and where the
kernel makes a scheduling group of each session, it counts only inside the session: others feel the group's own
(sched(7), "The autogroup feature"). So both are set, for processes that have a session of their own. Inside a control
group of its own, as in a service, the session's group has no effect, and no harm is done.
"""

from __future__ import annotations

import contextlib
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

TRIED: Final = 7
"""More than others, for a worker that is only tried out. It gets 17% of a core that another wants whole (sched(7): a
factor of 1.25 for each level): the other hardly feels it, and a long test still comes to its end."""
BEHIND: Final = 10
"""For what nobody waits for: 10% of a core that another wants whole (weights 1024 and 110). The 1.5% of 19 would be
half a minute for loading the libraries alone, on a board that is never idle."""
FIRST: Final = -5
"""For recording sound: it takes little, and what it misses is lost. Audio servers take -11 for themselves."""

_PROC: Final = Path("/proc")
_NICEST: Final = 19
_CAP_SYS_NICE: Final = 23  # linux/capability.h
_ZERO_LIMIT: Final = 20  # getrlimit(2): a limit of 20 - n allows a niceness down to n
_LOOKS: Final = 3
_GROUP_TRIES: Final = 3
_GROUP_PAUSE_S: Final = 0.11
"""The kernel takes one change of a group in 0.1 s from those who are not root (kernel/sched/autogroup.c)."""


def give_way(pid: int, *, proc: Path = _PROC) -> bool:
    """Let the processes that serve go before all threads of `pid`, until `take_turn`. False where that is not possible
    at all. Where the niceness could not be taken back, only the session's group gets one, which anybody may undo."""
    level = min(_NICEST, _own() + TRIED)
    grouped = _set_group(pid, TRIED, proc)
    return (_set_threads(pid, level, proc) if may_take_back(proc) else False) or grouped


def take_turn(pid: int, *, proc: Path = _PROC) -> bool:
    """Undo `give_way`. False if something was refused for the moment: try again a little later."""
    grouped = not _group_file(pid, proc).exists() or _set_group(pid, 0, proc)
    return grouped and (not may_take_back(proc) or _set_threads(pid, _own(), proc))


def step_behind(pid: int, *, proc: Path = _PROC) -> None:
    """Let all others go before the process `pid`, which has one thread so far, for good."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, BEHIND)
    _set_group(pid, BEHIND, proc)
    if hasattr(os, "SCHED_BATCH"):  # its waking up interrupts nobody
        with contextlib.suppress(OSError):
            os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0))


def go_first(*, proc: Path = _PROC) -> int:
    """Take the lowest niceness down to `FIRST` that is allowed, for this thread and those that it will start, and for
    this session's group. The thread's niceness is returned. May take a third of a second."""
    level = _own()
    for wanted in (FIRST, lowest_niceness(niceness_limit() or 0, level)):
        if wanted < level:
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, 0, wanted)
                level = wanted
                break
    if level < 0:
        _insist_on_group(os.getpid(), level, proc)
    return level


def lowest_niceness(limit: int, current: int) -> int:
    """What `go_first` may take, where RLIMIT_NICE is `limit` and it has `current` now; never a higher one."""
    allowed = FIRST if limit == resource.RLIM_INFINITY else max(FIRST, _ZERO_LIMIT - limit)
    return min(current, allowed)


def niceness_limit() -> int | None:
    """The soft RLIMIT_NICE; None where there is none, as on macOS."""
    kind = getattr(resource, "RLIMIT_NICE", None)
    return None if kind is None else resource.getrlimit(kind)[0]


def may_take_back(proc: Path = _PROC) -> bool:
    """Whether a process of ours that was made nicer can be made as it was: RLIMIT_NICE or CAP_SYS_NICE."""
    limit = niceness_limit()
    if limit is None:
        return False
    return limit == resource.RLIM_INFINITY or limit >= _ZERO_LIMIT - _own() or _privileged(proc)


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
    """Threads inherit the niceness of the one that starts them: look again until none is new."""
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


def _group_file(pid: int, proc: Path) -> Path:
    return proc / str(pid) / "autogroup"


def _set_group(pid: int, level: int, proc: Path) -> bool:
    """The niceness of the group of the session of `pid`; not where that session is also others'."""
    try:
        if os.getsid(pid) != pid:
            return False
        with _group_file(pid, proc).open("r+") as file:
            file.write(str(level))
    except OSError:
        return False
    return True


def _insist_on_group(pid: int, level: int, proc: Path) -> None:
    """Another process may just have changed its group's: then the kernel says to try again."""
    if os.getsid(pid) != pid or not _group_file(pid, proc).exists():
        return
    for attempt in range(_GROUP_TRIES):
        if _set_group(pid, level, proc):
            return
        if attempt < _GROUP_TRIES - 1:
            time.sleep(_GROUP_PAUSE_S)
