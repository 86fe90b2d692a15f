"""Who is to blame for a load that takes too long: the model, or those that had the processors and the disk meanwhile.

The processors: the kernel counts how long a process wanted to run and could not (`agent.hardware.sensors.turns`). The
disk: how often the worker was seen to wait for it (state D of proc_pid_stat(5)), and how many bytes went to it and to
all others together (`/proc/PID/io`, `/proc/diskstats`). A disk that is slow for everybody is no excuse: then the model
is too large for this device.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

from agent.hardware import sysfile
from agent.hardware.sensors.turns import Turns, read_turns

LOOK_S: Final = 0.1
_SECTOR_BYTES: Final = 512
"""Of /proc/diskstats, whatever the disk has (Linux, Documentation/admin-guide/iostats.rst)."""
_PASSED_ON: Final = ("loop", "ram", "zram", "dm-", "md")
"""Devices whose bytes are counted again at the disk below."""


@dataclass(frozen=True)
class Share:
    """What a worker got until `at`, seconds of a monotonic clock: turns of the processors, bytes of the disks; and the
    bytes of all. None where the system does not say."""

    at: float
    turns: Turns | None
    own_bytes: int | None
    all_bytes: int | None


def is_starved(first: Share, last: Share, waits: float) -> bool:
    """Whether the worker mostly waited for others between the two; in a share `waits` of the looks it waited for the
    disk."""
    before, now = first.turns, last.turns
    if before is not None and now is not None and now.starved_since(before, last.at - first.at):
        return True
    if first.own_bytes is None or last.own_bytes is None or first.all_bytes is None or last.all_bytes is None:
        return False
    own_bytes = last.own_bytes - first.own_bytes
    return waits >= 0.5 and last.all_bytes - first.all_bytes > 2 * own_bytes


class LoadWatch:
    """`async with LoadWatch(lambda: pid) as watch`: looks at the worker while it loads. `root` has proc and sys."""

    def __init__(self, pid: Callable[[], int | None], root: Path = Path("/")) -> None:
        self._pid = pid
        self._root = root
        self._of: int | None = None
        self._first: Share | None = None
        self._last: Share | None = None
        self._looks = self._waits = 0

    async def __aenter__(self) -> LoadWatch:
        self._task = asyncio.create_task(self._watch(), name="load-watch")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    def starved(self) -> bool:
        """Whether the worker that was seen last has mostly waited for others."""
        if self._first is None or self._last is None or self._last.at == self._first.at:
            return False
        return is_starved(self._first, self._last, self._waits / self._looks)

    def look(self) -> None:
        pid = self._pid()
        if pid is None:
            return
        share = read_share(pid, self._root)
        if share.turns is None and share.own_bytes is None:
            return  # it has ended: what was seen before counts
        if pid != self._of:
            self._of, self._first, self._looks, self._waits = pid, share, 0, 0
        self._last = share
        self._looks += 1
        self._waits += waits_for_disk(pid, self._root)

    async def _watch(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(LOOK_S)


def read_share(pid: int, root: Path = Path("/")) -> Share:
    return Share(time.monotonic(), read_turns(pid, root), _own_bytes(pid, root), _all_bytes(root))


def waits_for_disk(pid: int, root: Path = Path("/")) -> bool:
    """Whether a thread of the process waits for a disk, now."""
    with contextlib.suppress(OSError):
        for thread in (root / "proc" / str(pid) / "task").iterdir():
            text = sysfile.read_text(thread / "stat") or ""
            if text.rpartition(")")[2].split()[:1] == ["D"]:
                return True
    return False


def _own_bytes(pid: int, root: Path) -> int | None:
    fields = dict(
        line.split(": ", 1) for line in (sysfile.read_text(root / "proc" / str(pid) / "io") or "").splitlines()
        if ": " in line
    )  # fmt: skip
    try:
        return int(fields["read_bytes"]) + int(fields["write_bytes"])
    except (KeyError, ValueError):
        return None


def _all_bytes(root: Path) -> int | None:
    text = sysfile.read_text(root / "proc" / "diskstats")
    if text is None:
        return None
    sectors = 0
    for line in text.splitlines():
        fields = line.split()
        if len(fields) > 9 and not fields[2].startswith(_PASSED_ON) and (root / "sys" / "block" / fields[2]).exists():
            with contextlib.suppress(ValueError):
                sectors += int(fields[5]) + int(fields[9])
    return sectors * _SECTOR_BYTES
