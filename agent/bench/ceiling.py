"""How fast this machine's memory can be read, and how many tokens a second that allows at most."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from agent.bench.report import Ceiling
from agent.errors import UnavailableError
from agent.hardware import sysfile
from agent.hardware.memory import MIB, read_memory

BUFFER_BYTES: Final = 256 * MIB
"""Eight times the third-level cache of the servers that we know; a board's is a few MiB."""

LEAST_BYTES: Final = 32 * MIB
PASSES: Final = 8
_PAGE: Final = 4096


def read_bandwidth(threads: int, size_bytes: int, passes: int = PASSES) -> float:
    """Bytes per second at which `threads` threads together read a buffer of `size_bytes`: the best of `passes`.

    libc's memchr looks for a byte that is not there; ctypes lets go of the interpreter's lock meanwhile. Every page is
    written first: pages that were not are all the same page of zeros, which is read out of the cache.
    """
    libc = ctypes.CDLL(None)
    memchr = libc.memchr
    memchr.restype, memchr.argtypes = ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)
    part = size_bytes // threads // _PAGE * _PAGE
    buffer = ctypes.create_string_buffer(part * threads)
    address = ctypes.addressof(buffer)
    ctypes.memset(address, 1, part * threads)
    best = 0.0
    for _ in range(passes):
        spans: list[tuple[float, float]] = []
        start = threading.Barrier(threads)

        def read(begin: int, start: threading.Barrier = start, spans: list[tuple[float, float]] = spans) -> None:
            start.wait()
            began_s = time.perf_counter()
            memchr(begin, 2, part)
            spans.append((began_s, time.perf_counter()))

        workers = [threading.Thread(target=read, args=(address + part * number,)) for number in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        elapsed_s = max(end for _, end in spans) - min(begin for begin, _ in spans)
        best = max(best, part * threads / elapsed_s)
    return best


def measure_bandwidth(cores: int, *, quick: bool) -> tuple[float, int]:
    """Bytes per second, and with how many threads: the better of one and one for each of `cores`. Takes about a
    second. Raises `UnavailableError` where there is not enough memory to say."""
    size = min(BUFFER_BYTES, read_memory().usable_bytes // 4)
    if size < LEAST_BYTES:
        raise UnavailableError("There is too little free memory to measure how fast it is.")
    counts = sorted({1, max(1, cores)})
    measured = [(read_bandwidth(count, size, PASSES // 2 if quick else PASSES), count) for count in counts]
    return max(measured)


def cache_bytes(root: Path = Path("/")) -> int:
    """The largest cache of the first processor; 0 where the kernel does not say."""
    folder = root / "sys/devices/system/cpu/cpu0/cache"
    found = [
        int(text[:-1]) * 1024
        for index in sysfile.list_names(folder, "index[0-9]*")
        if (text := sysfile.read_text(index / "size") or "").endswith("K") and text[:-1].isdecimal()
    ]
    return max(found, default=0)


def ceiling_of(
    bandwidth: tuple[float, int], weights_bytes: int, *, gpu_bytes: int = 0, cached_bytes: int = 0, local: bool = True
) -> Ceiling:
    """Each token reads all weights once. Where their size is not known, or another memory is read, it says so;
    `cached_bytes` is what the processor's cache holds."""
    reason = ""
    if not local:
        reason = "the server is on another machine, whose memory cannot be measured from here"
    elif gpu_bytes:
        reason = "the model is in the memory of a GPU, which is not measured"
    elif not weights_bytes:
        reason = "the server does not say how large the model's weights are"
    elif weights_bytes < cached_bytes:
        reason = "the weights fit into the processor's cache, so memory is no limit"
    elif not bandwidth[0]:
        reason = "there was too little free memory to measure how fast it is"
    bytes_per_s, threads = bandwidth
    if reason:
        return Ceiling(
            bandwidth_bytes_per_s=bytes_per_s if local else 0.0, threads=threads if local else 0, reason=reason
        )
    return Ceiling(
        bandwidth_bytes_per_s=bytes_per_s,
        threads=threads,
        bytes_per_token=weights_bytes,
        tokens_per_s=bytes_per_s / weights_bytes,
    )


def share_of(ceiling: Ceiling | None, speeds: Sequence[float]) -> float | None:
    """How close the fastest of `speeds` comes to the ceiling."""
    if ceiling is None or not ceiling.tokens_per_s or not speeds:
        return None
    return max(speeds) / ceiling.tokens_per_s
