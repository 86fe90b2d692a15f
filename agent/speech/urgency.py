"""Recording sound goes before everything that computes: it takes little, and what it misses is lost."""

from __future__ import annotations

import os
import resource
from typing import Final

WANTED: Final = -5
"""A niceness; audio servers take -11 for themselves."""
_NICEST_OF_LIMIT: Final = 20
"""getrlimit(2): a limit of 20 - n allows a niceness down to n."""


def lowest_niceness(limit: int, current: int, *, privileged: bool = False) -> int:
    """The niceness to take, where RLIMIT_NICE is `limit` (-1: none) and it has `current` now; never a higher one."""
    if privileged or limit == resource.RLIM_INFINITY:
        return min(current, WANTED)
    return min(current, max(WANTED, _NICEST_OF_LIMIT - limit))


def niceness_limit() -> int | None:
    """The soft RLIMIT_NICE; None where there is none, as on macOS."""
    kind = getattr(resource, "RLIMIT_NICE", None)
    return None if kind is None else resource.getrlimit(kind)[0]


def go_first() -> int:
    """Take the lowest niceness that is allowed, for this thread and those that it will start; what it is then."""
    current, limit = os.getpriority(os.PRIO_PROCESS, 0), niceness_limit()
    for level in dict.fromkeys((WANTED, lowest_niceness(limit or 0, current))):
        if level < current:
            try:
                os.setpriority(os.PRIO_PROCESS, 0, level)
            except OSError:
                continue
            return level
    return current
