"""Keeping this process small while llama.cpp reads a mapped model.

llama.cpp maps the source and unmaps each tensor when it is done with it; until then the pages it has read stay
resident, which is 544 MB for the embedding table of a 0.5B in F32. They are clean copies of a file, so they can be let
go at any time: whoever still needs one reads it again, from the page cache.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from agent.engines.process import resident_bytes

_MADV_DONTNEED: Final = 4  # Linux, asm-generic/mman-common.h
_LOOK_EVERY_S: Final = 0.02


@contextmanager
def bounded(paths: Sequence[Path], limit_bytes: int) -> Iterator[None]:
    """While inside, let go of mapped pages of the files `paths` whenever this process holds more than `limit_bytes`.

    Does nothing but on Linux: elsewhere llama.cpp reads the source into buffers of its own.
    """
    if sys.platform != "linux":
        yield
        return
    stop = threading.Event()
    wanted = {_identity(path) for path in paths}

    def watch() -> None:
        while not stop.wait(_LOOK_EVERY_S):
            if resident_bytes() > limit_bytes:
                _let_go(wanted)

    watcher = threading.Thread(target=watch, name="resident", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


def _identity(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return os.major(status.st_dev), os.minor(status.st_dev), status.st_ino


def _let_go(wanted: set[tuple[int, int, int]]) -> None:
    """Only read-only shared mappings of these very files: letting go of those loses nothing (madvise(2))."""
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for line in Path("/proc/self/maps").read_text("utf-8", "replace").splitlines():
        where, rights, _offset, device, inode = line.split(maxsplit=5)[:5]
        major, minor = (int(part, 16) for part in device.split(":"))
        if rights == "r--s" and (major, minor, int(inode)) in wanted:
            start, end = (int(part, 16) for part in where.split("-"))
            advise(start, end - start, _MADV_DONTNEED)
