"""The daemon's heap: one for all threads, and what is free in it goes back."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import platform
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from agent.heap import LOOK_SHARE, WORK_S, keep_trimmed

ROOT = Path(__file__).resolve().parents[1]
GLIBC = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")

FRAGMENTED = """
import os, threading
from agent.heap import share_one_heap, trim
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
share_one_heap()
keep, all_have = [], threading.Barrier(4)
def work():
    blocks = [bytes(20_000) for _ in range(1500)]
    keep.append(blocks[::300])
    all_have.wait()
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
freed = resident()
trim()
print(freed - resident(), len(keep))
"""


@GLIBC
def test_what_threads_have_freed_between_blocks_in_use_goes_back() -> None:
    said = subprocess.run([sys.executable, "-c", FRAGMENTED], capture_output=True, text=True, check=True).stdout
    assert int(said.split()[0]) > 50_000_000  # of 120 MB


ARENAS = """
import ctypes, sys, threading
from agent.heap import share_one_heap
if sys.argv[1] == "one":
    share_one_heap()
gate = threading.Barrier(7)
def work():
    kept = bytes(20_000)
    gate.wait()
    del kept
threads = [threading.Thread(target=work) for _ in range(6)]
for thread in threads:
    thread.start()
gate.wait()
ctypes.CDLL(None).malloc_stats()
"""


@GLIBC
@pytest.mark.parametrize(("heaps", "arenas"), [("one", 1), ("many", 7)])
def test_all_threads_share_one_heap(heaps: str, arenas: int) -> None:
    done = subprocess.run([sys.executable, "-c", ARENAS, heaps], capture_output=True, text=True, check=True)
    assert done.stderr.count("Arena ") == arenas


CYCLES = """
import asyncio, gc, weakref
from agent.heap import WORK_S, keep_trimmed
class Failed:
    def __init__(self):
        self.itself = self
async def main():
    before = weakref.ref(Failed())
    worked_s = [0.0]
    task = asyncio.create_task(keep_trimmed(period_s=0.001, worked_s=lambda: worked_s[0], trim=lambda: None))
    await asyncio.sleep(0.05)
    said, later = [before() is None, gc.get_freeze_count() > 1000], weakref.ref(Failed())
    for at_s in (WORK_S / 2, WORK_S):
        worked_s[0] = at_s
        await asyncio.sleep(0.05)
        said.append(later() is None)
    task.cancel()
    print(*said)
gc.disable()
asyncio.run(main())
"""


def test_cycles_are_collected_before_what_stays_is_counted_out_and_after_work() -> None:
    said = subprocess.run([sys.executable, "-c", CYCLES], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["True", "True", "False", "True"]


INTERNED = """
import sys
import agent.app, agent.device, agent.fleet_side
from agent.heap import fill_interned, share_one_heap
from tests.test_heap import mapped_bytes
share_one_heap()
if sys.argv[1] == "filled":
    fill_interned()
before = mapped_bytes()
for number in range(300_000):
    sys.intern(f"temporary {number}")
print(mapped_bytes() - before)
"""


def mapped_bytes() -> int:
    """In blocks that have pages of their own, as large ones do."""

    class Mallinfo2(ctypes.Structure):
        """`hblkhd` is its fifth field of ten (malloc.h)."""

        _fields_: ClassVar = [(f"field_{number}", ctypes.c_size_t) for number in range(10)]

    library = ctypes.CDLL(None)
    library.mallinfo2.restype = Mallinfo2
    return int(library.mallinfo2().field_4)


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="of CPython 3.11")
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="of glibc 2.33")
@pytest.mark.parametrize(("state", "grows"), [("filled", False), ("as it is", True)])
def test_the_table_of_interned_strings_does_not_grow_later(state: str, grows: bool) -> None:
    command = [sys.executable, "-c", INTERNED, state]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert (int(done.stdout) > 0) == grows


async def test_it_is_trimmed_after_work_and_not_while_nothing_is_done() -> None:
    worked_s, trimmed = [0.0], []
    task = asyncio.create_task(
        keep_trimmed(period_s=0.001, worked_s=lambda: worked_s[0], trim=lambda: trimmed.append(worked_s[0]))
    )
    for at_s, expected in ((0.0, [0.0]), (WORK_S / 2, [0.0]), (WORK_S, [0.0, WORK_S])):
        worked_s[0] = at_s
        await asyncio.sleep(0.05)
        assert trimmed == expected
    task.cancel()


async def test_where_looking_for_cycles_takes_long_it_is_done_less_often() -> None:
    worked_s, trimmed = [0.0], []

    def looked(phase: str, info: dict[str, int]) -> None:
        worked_s[0] += 0.1 * (phase == "stop" and info["generation"] == 2)

    task = asyncio.create_task(
        keep_trimmed(period_s=0.001, worked_s=lambda: worked_s[0], trim=lambda: trimmed.append(worked_s[0]))
    )
    await asyncio.sleep(0)  # the first look of all is not counted
    gc.callbacks.append(looked)
    try:
        for at_s, expected in ((1.0, 2), (0.9 + 0.1 / LOOK_SHARE, 2), (1.1 + 0.1 / LOOK_SHARE, 3)):
            worked_s[0] = at_s
            await asyncio.sleep(0.05)
            assert len(trimmed) == expected
    finally:
        gc.callbacks.remove(looked)
        task.cancel()
