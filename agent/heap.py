"""What the C library keeps of the memory that the daemon has freed: little, so that a day of work leaves no trace.

Freed blocks lie between blocks in use, and glibc keeps them, in one heap for each thread that ever allocated: several
MB in the daemon, which grow for hours (docs/performance.md). One heap serves all threads, since they take turns in the
interpreter anyway, and pages that are wholly free go back after work. Elsewhere than with glibc that is not done.

What lies in cycles of references keeps its memory until Python looks for such: what has failed, or whose client has
gone, with all that it had in hand. Python looks among old objects only once they are a quarter more: 15,000, where the
daemon starts with 60,000. Those are no garbage and are counted out; among the few thousand others the daemon looks
itself, after work, so that each holds its memory for seconds, and the next request finds room that is there already.

CPython 3.11 never forgets the place of an interned string that is gone: each path that is made takes places (`pathlib`
interns its parts), and once all are taken, after some hours, the table grows for good: by 0.94 MiB here. It is brought
to that size at the start, so that what is seen of the daemon then is what it takes.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import sys
import time
from collections.abc import Callable
from functools import cache
from typing import Any, Final

PERIOD_S: Final = 2.0
WORK_S: Final = 0.25
"""Processor time since the last trim, which takes some milliseconds itself. A daemon that only waits is left alone."""
LOOK_SHARE: Final = 0.02
"""Of the processor time that may go into looking for cycles: where there is much to look at, it is done less often."""
LARGE_BYTES: Final = 64 * 1024
"""Recordings, vectors and pages of this size get pages of their own and leave no holes."""
_PLACES: Final = 44_000
"""More than the two thirds of 65,536 that may be taken in a table of that size (`USABLE_FRACTION`, dictobject.c)."""
_M_MMAP_THRESHOLD: Final = -3  # malloc.h
_M_ARENA_MAX: Final = -8


def share_one_heap() -> None:
    """For all threads that have not allocated yet: call it before any is started. Large blocks stay out of it."""
    change = getattr(_c_library(), "mallopt", None)
    if change is not None:
        change(_M_ARENA_MAX, 1)
        change(_M_MMAP_THRESHOLD, LARGE_BYTES)


def trim() -> None:
    """Hand free pages back to the operating system. Takes some milliseconds, without the interpreter's lock."""
    give = getattr(_c_library(), "malloc_trim", None)
    if give is not None:
        give(0)


def fill_interned() -> None:
    """Take all places of the table of interned strings once, so that it grows now. 10 ms. With CPython 3.11 alone: 3.12
    keeps every interned string for ever."""
    if sys.version_info[:2] == (3, 11) and sys.implementation.name == "cpython":
        for number in range(_PLACES):
            sys.intern(f"place {number}")


@cache
def _c_library() -> Any:
    """Once: each `CDLL` makes a class, which is garbage in a cycle afterwards."""
    return ctypes.CDLL(None)


async def keep_trimmed(
    *, period_s: float = PERIOD_S, worked_s: Callable[[], float] = time.process_time, trim: Callable[[], None] = trim
) -> None:
    """Until cancelled: collect cycles and trim after some work of this process, `worked_s`, and once at the beginning,
    where what is left is taken for what stays."""
    fill_interned()
    gc.collect()
    gc.freeze()
    due_at_s = float("-inf")
    while True:
        if (now_s := worked_s()) >= due_at_s:
            gc.collect()  # 1 ms at rest; in this thread, for some of what it frees can only be closed in it
            due_at_s = now_s + max(WORK_S, (worked_s() - now_s) / LOOK_SHARE)
            await asyncio.to_thread(trim)
        await asyncio.sleep(period_s)
