"""This process as the operating system sees it."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
from pathlib import Path


def resident_bytes() -> int:
    """Resident set size, now on Linux; elsewhere the highest so far, which is what the standard library offers."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return pages * resource.getpagesize()


def release_free_memory() -> None:
    """Hand the allocator's free pages back to the operating system (glibc keeps them otherwise)."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def offer_to_oom_killer() -> None:
    """Under memory pressure the kernel shall take this process before the daemon."""
    try:
        Path("/proc/self/oom_score_adj").write_text("800")
    except OSError:
        return  # not Linux, or not allowed: then the kernel decides by size alone
