"""How much memory is really there for models: MemAvailable and the control group's limit, never total RAM."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agent.hardware import cgroup, sysfile
from agent.hardware.command import Runner, no_command, run_command

MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class MemoryReading:
    """One look at the machine's memory, in bytes.

    `limit_bytes` and `used_by_cgroup_bytes` belong to the control group with the smallest limit and are None without
    one; `headroom_bytes` is the least room left in any group above this process.
    """

    available_bytes: int
    total_bytes: int
    limit_bytes: int | None = None
    used_by_cgroup_bytes: int | None = None
    headroom_bytes: int | None = None

    @property
    def ceiling_bytes(self) -> int:
        """The most that this process could ever have: the smaller of the machine's memory and the limit."""
        return self.total_bytes if self.limit_bytes is None else min(self.total_bytes, self.limit_bytes)

    @property
    def usable_bytes(self) -> int:
        """What could be allocated now without anything being killed."""
        if self.headroom_bytes is None:
            return self.available_bytes
        return min(self.available_bytes, self.headroom_bytes)


class Share(Protocol):
    """The part of a profile's `[memory]` that the budget needs."""

    @property
    def budget_fraction(self) -> float: ...

    @property
    def reserve_mb(self) -> int: ...


def read_memory(root: Path = Path("/"), *, run: Runner | None = None, system: str | None = None) -> MemoryReading:
    """Read the memory of the machine under `root`; cheap enough to be called before every load (0.2 ms on Linux).

    `system` is `sys.platform`'s name. What cannot be read counts as zero, which makes the budget zero: refusing a
    model is safer than taking the board down.
    """
    real = root == Path("/")
    run = run or (run_command if real else no_command)
    if (system or (sys.platform if real else "linux")) == "darwin":
        return _read_darwin(run)
    fields = _meminfo(root)
    total = fields.get("MemTotal", 0)
    available = fields.get("MemAvailable")
    if available is None:  # Linux before 3.14
        available = fields.get("MemFree", 0) + fields.get("Cached", 0) // 2
    limit = cgroup.memory_limit(root)
    if limit is None or (total and limit.limit_bytes >= total and limit.headroom_bytes >= available):
        return MemoryReading(available_bytes=min(available, total), total_bytes=total)
    return MemoryReading(
        available_bytes=min(available, total),
        total_bytes=total,
        limit_bytes=limit.limit_bytes,
        used_by_cgroup_bytes=limit.used_bytes,
        headroom_bytes=limit.headroom_bytes,
    )


def budget_bytes(reading: MemoryReading, memory: Share, *, held_bytes: int = 0) -> int:
    """How much all models together may take: the stricter of the profile's fraction and its reserve.

        usable = min(MemAvailable, least headroom of any control group) + held
        budget = max(0, min(usable * budget_fraction, usable - reserve))

    `held_bytes` is what our own workers occupy already. It is missing from MemAvailable and belongs to the budget, so
    the budget does not shrink when a model is loaded.
    """
    usable = reading.usable_bytes + max(0, held_bytes)
    return max(0, min(int(usable * memory.budget_fraction), usable - memory.reserve_mb * MIB))


def _meminfo(root: Path) -> dict[str, int]:
    """`/proc/meminfo` in bytes."""
    fields: dict[str, int] = {}
    for line in (sysfile.read_text(root / "proc/meminfo") or "").splitlines():
        match = re.fullmatch(r"(\w+):\s+(\d+) kB\s*", line)
        if match:
            fields[match[1]] = int(match[2]) * 1024
    return fields


def _read_darwin(run: Runner) -> MemoryReading:
    """macOS: free, inactive, speculative and purgeable pages are what it gives away before it swaps (`vm_stat`)."""
    total_text = (run(("sysctl", "-n", "hw.memsize")) or "").strip()
    total = int(total_text) if total_text.isdecimal() else 0
    text = run(("vm_stat",)) or ""
    size = re.search(r"page size of (\d+) bytes", text)
    pages = {name: int(count) for name, count in re.findall(r"^Pages ([a-z ]+):\s+(\d+)\.", text, re.MULTILINE)}
    kinds = ("free", "inactive", "speculative", "purgeable")
    available = sum(pages.get(kind, 0) for kind in kinds) * (int(size[1]) if size else 16384)
    return MemoryReading(available_bytes=min(available, total), total_bytes=total)
