"""How busy the processor is: the difference of two looks at `/proc/stat`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agent.hardware import sysfile


@dataclass(frozen=True, kw_only=True)
class CpuTimes:
    """Since the boot, over all CPUs, in the kernel's ticks."""

    busy: int
    idle: int


def parse_stat(text: str) -> CpuTimes | None:
    """The line `cpu user nice system idle iowait irq softirq steal guest guest_nice`: proc_stat(5). Time of guests is
    in user and nice already."""
    for line in text.splitlines():
        name, *fields = line.split()[:9] or [""]
        if name == "cpu" and len(fields) >= 4 and all(field.isdecimal() for field in fields):
            ticks = [int(field) for field in fields]
            idle = ticks[3] + (ticks[4] if len(ticks) > 4 else 0)
            return CpuTimes(busy=sum(ticks) - idle, idle=idle)
    return None


def read_cpu_times(root: Path = Path("/")) -> CpuTimes | None:
    return parse_stat(sysfile.read_text(root / "proc/stat") or "")


def busy_share(before: CpuTimes, after: CpuTimes) -> float | None:
    """From 0 to 1 over all CPUs; None where no time has passed. iowait may run backwards: proc_stat(5)."""
    busy, idle = max(0, after.busy - before.busy), max(0, after.idle - before.idle)
    return busy / (busy + idle) if busy + idle else None
