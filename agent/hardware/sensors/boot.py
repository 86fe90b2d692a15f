"""Which boot of the machine this is, and the time since it began: a clock that nobody sets."""

from __future__ import annotations

import re
import time
import uuid
from pathlib import Path

from agent.hardware import sysfile


def read_boot_id(root: Path = Path("/")) -> str:
    """Different for each boot; of Linux's own making, else one of ours for this process."""
    text = sysfile.read_text(root / "proc/sys/kernel/random/boot_id") or ""
    return text if re.fullmatch(r"[0-9a-f-]{36}", text) else str(uuid.uuid4())


def up_s() -> float:
    """Seconds since the boot, with the time that the machine slept where the system counts it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
