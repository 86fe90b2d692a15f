"""What the operating system says about a process, from /proc (Linux only)."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def resident_bytes(pid: int) -> int:
    """Resident set size, as `ps` shows it. Raises `FileNotFoundError` where the process is gone."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def proportional_bytes(pid: int) -> int:
    """Resident memory with pages that n processes share counted as 1/n. Raises `FileNotFoundError`."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def cpu_s(pid: int) -> float:
    """Processor time used so far, user and system. Raises `FileNotFoundError` where the process is gone."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    """Process ids of the direct children, dead ones not yet waited for included.

    Raises:
        FileNotFoundError: the process is gone; a thread of it that ends meanwhile is no error.
    """
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def state(pid: int) -> str:
    """One letter, as in `ps`: R, S, D, T, Z; empty where the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""
