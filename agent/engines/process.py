"""This process as the operating system sees it."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
import signal
import sys
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_M_MMAP_THRESHOLD = -3  # malloc.h
_LARGE_BLOCK_BYTES = 256 * 1024


def resident_bytes() -> int:
    """Resident set size, now on Linux; elsewhere the highest so far, which is what the standard library offers."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return pages * resource.getpagesize()


def wanted_s() -> float:
    """How long this thread has computed so far, and been ready to while others had the processors: what it slept is not
    in it. Linux's `schedstat` (Documentation/scheduler/sched-stats.rst); without it, what the thread has computed."""
    try:
        ran, waited = Path("/proc/thread-self/schedstat").read_text().split()[:2]
        return (int(ran) + int(waited)) / 1e9
    except (OSError, ValueError):
        return time.thread_time()


def give_large_blocks_back() -> None:
    """Let the allocator map large blocks and unmap them when freed.

    glibc raises its threshold to the largest block ever freed, and after that megabytes of finished requests stay in
    the heap: 7 MB of a worker with a vocabulary of 152k tokens. ONNX Runtime needs its arena beside this: without it
    each run maps its activations anew, and takes up to five times as long (docs/performance.md).
    """
    change = getattr(ctypes.CDLL(None), "mallopt", None)
    if change is not None:
        change(_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES)


def release_free_memory() -> None:
    """Hand the allocator's free pages back to the operating system (glibc keeps them otherwise)."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def keep_numpy_to_one_thread() -> None:
    """Call it before numpy is imported.

    After a product that it shared, OpenBLAS's second thread spins for 2**26 ticks of the processor's clock (its
    `THREAD_TIMEOUT`): 48 ms of a core for a spectrogram that one thread computes in half a millisecond. The graphs have
    threads of their own.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def die_with_parent() -> None:
    """Ask Linux to kill this process when the one that started it dies: a stopped process notices no closed socket."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def leave_no_core() -> None:
    """A crash shall not write gigabytes of weights to an SD card."""
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def offer_to_oom_killer() -> None:
    """Under memory pressure the kernel shall take this process before the daemon."""
    try:
        Path("/proc/self/oom_score_adj").write_text("800")
    except OSError:
        return  # not Linux, or not allowed: then the kernel decides by size alone
