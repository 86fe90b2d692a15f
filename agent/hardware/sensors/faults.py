"""What a process had to fetch from a disk: its major page faults (proc_pid_stat(5)), and bytes (proc_pid_io(5)).

Both, since each misses something: one fault of a mapped file may read megabytes ahead, and a page of compressed swap
costs a fault but no disk.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from agent.hardware import sysfile

_MAJOR: Final = 9
"""`majflt` is the 12th field; the name before may hold anything but ends at the last parenthesis, after the 2nd."""


def parse_major_faults(text: str) -> int | None:
    """Of one `/proc/PID/stat`; all threads of the process together."""
    fields = text.rpartition(")")[2].split()
    return int(fields[_MAJOR]) if len(fields) > _MAJOR and fields[_MAJOR].isdecimal() else None


def read_major_faults(pid: int, root: Path = Path("/")) -> int | None:
    """Since the process began; None where it has ended, or there is no `/proc`."""
    return parse_major_faults(sysfile.read_text(root / "proc" / str(pid) / "stat") or "")


def parse_disk_bytes(text: str) -> int | None:
    """Of one `/proc/PID/io`: what was really read from storage."""
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name == "read_bytes" and value.strip().isdecimal():
            return int(value)
    return None


def read_disk_bytes(pid: int, root: Path = Path("/")) -> int | None:
    """Since the process began; None where it has ended or may not be asked, as another user's."""
    return parse_disk_bytes(sysfile.read_text(root / "proc" / str(pid) / "io") or "")
