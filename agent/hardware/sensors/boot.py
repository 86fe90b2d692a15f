"""Which boot of the machine this is, and the time since it began: a clock that nobody sets."""

from __future__ import annotations

import re
import time
import uuid
from pathlib import Path
from typing import Final

from agent.hardware import sysfile
from agent.hardware.command import Runner, no_command, run_command

COMMAND: Final = ("sysctl", "-n", "kern.bootsessionuuid")
_OF_A_PROCESS: Final = "process-"
_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def read_boot_id(root: Path = Path("/"), *, run: Runner | None = None) -> str:
    """Different for each boot, the same for all processes of one: of Linux's or macOS's own making. Where the system
    has none, one of ours, which is another in each process: `names_a_boot` tells."""
    run = run or (run_command if root == Path("/") else no_command)
    text = sysfile.read_text(root / "proc/sys/kernel/random/boot_id") or (run(COMMAND) or "").strip().lower()
    return text if _ID.fullmatch(text) else f"{_OF_A_PROCESS}{uuid.uuid4()}"


def names_a_boot(boot_id: str) -> bool:
    """Whether two different ones mean that the machine was started anew in between."""
    return not boot_id.startswith(_OF_A_PROCESS)


def up_s() -> float:
    """Seconds since the boot, with the time that the machine slept where the system counts it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
