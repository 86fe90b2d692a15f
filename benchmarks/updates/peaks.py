"""The most memory that the children of this process ever had, shared libraries included."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

MEMORY_BAR_BYTES: Final = 40_000_000


@dataclass
class Peaks:
    """The most memory of each kind of child, in bytes."""

    of: dict[str, int] = field(default_factory=dict)

    @contextlib.asynccontextmanager
    async def watched(self, what: str) -> AsyncIterator[None]:
        """Of the children of this process meanwhile."""
        watching = asyncio.create_task(self._watch(what))
        try:
            yield
        finally:
            watching.cancel()

    async def _watch(self, what: str) -> None:
        while True:
            for pid in _children():
                self.of[what] = max(self.of.get(what, 0), peak_bytes(pid))
            await asyncio.sleep(0.02)


def _children() -> list[int]:
    found = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    return [int(pid) for pid in found if "agent.updates.fetch" in _command(int(pid))]


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return ""


def peak_bytes(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    return 0
