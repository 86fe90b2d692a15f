"""Letting go of mapped pages loses nothing but memory."""

from __future__ import annotations

import mmap
import sys
import time
from pathlib import Path

import pytest

from agent.engines.process import resident_bytes
from convert.quantization.resident import bounded

SIZE_BYTES = 64 * 1024 * 1024
DEADLINE_S = 30

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux is told which pages to let go")


def test_pages_of_the_file_leave_and_come_back_the_same(tmp_path: Path) -> None:
    wanted, other = tmp_path / "wanted", tmp_path / "other"
    for path, byte in ((wanted, b"w"), (other, b"o")):
        path.write_bytes(byte * SIZE_BYTES)
    with wanted.open("rb") as first, other.open("rb") as second:
        ours = mmap.mmap(first.fileno(), 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
        theirs = mmap.mmap(second.fileno(), 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
        assert (ours[:: mmap.PAGESIZE].count(b"w"), theirs[:: mmap.PAGESIZE].count(b"o")) == (SIZE_BYTES // 4096,) * 2
        before = resident_bytes()
        with bounded([wanted], limit_bytes=1):
            give_up_at = time.monotonic() + DEADLINE_S
            while resident_bytes() > before - SIZE_BYTES // 2 and time.monotonic() < give_up_at:
                time.sleep(0.01)
            left = before - resident_bytes()
        assert SIZE_BYTES // 2 <= left < SIZE_BYTES * 3 // 2  # of `wanted` alone
        assert ours[:: mmap.PAGESIZE].count(b"w") == SIZE_BYTES // 4096
        ours.close()
        theirs.close()


def test_below_the_limit_nothing_is_let_go(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * SIZE_BYTES)
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
        assert mapped[:: mmap.PAGESIZE].count(b"x") == SIZE_BYTES // 4096
        before = resident_bytes()
        with bounded([path], limit_bytes=1 << 50):
            time.sleep(0.1)
        assert resident_bytes() > before - SIZE_BYTES // 2
        mapped.close()
