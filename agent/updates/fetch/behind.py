"""A place in the scheduler behind all others, for what nobody waits for. Nothing fails here, and no harm is done."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

NICE: Final = 10
"""A core that another wants whole leaves 10% of itself to such a process (sched(7): weights 1024 and 110). The 1.5% of
19 would be half a minute for loading the libraries alone, on a board that is never idle."""


def step_behind(pid: int, *, proc: Path = Path("/proc")) -> None:
    """Let all others go before the process `pid`, which has a session of its own and one thread so far.

    Where the kernel makes a scheduling group of each session, a niceness counts only inside the session, and the
    group's own is what others feel (sched(7), "The autogroup feature"). The kernel takes one such change in 0.1 s.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, NICE)
    with contextlib.suppress(OSError), (proc / str(pid) / "autogroup").open("r+") as file:
        file.write(str(NICE))
    if hasattr(os, "SCHED_BATCH"):  # its waking up interrupts nobody
        with contextlib.suppress(OSError):
            os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0))
