"""Pressure stall information: how much of the time work waited for a resource (kernel.org, accounting/psi)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from agent.hardware import sysfile


@dataclass(frozen=True, kw_only=True)
class Pressure:
    """In percent of the time asked for: in `some_percent` at least one task waited, in `full_percent` all of them."""

    some_percent: float
    full_percent: float


def parse_pressure(text: str, *, over_s: Literal[10, 60] = 60) -> Pressure | None:
    """Means over the last `over_s` seconds."""
    found = dict(re.findall(rf"^(some|full) .*?avg{over_s}=([0-9]{{1,3}}\.[0-9]{{1,2}})\b", text, re.MULTILINE))
    if "some" not in found:
        return None
    return Pressure(some_percent=float(found["some"]), full_percent=float(found.get("full", 0.0)))


def read_pressure(
    resource: Literal["memory", "cpu", "io"], root: Path = Path("/"), *, over_s: Literal[10, 60] = 60
) -> Pressure | None:
    """None where the kernel was built without it, or booted with `psi=0` (Raspberry Pi OS)."""
    return parse_pressure(sysfile.read_text(root / "proc/pressure" / resource) or "", over_s=over_s)


def read_own_pressure(root: Path = Path("/"), *, over_s: Literal[10, 60] = 60) -> Pressure | None:
    """For memory, in our service's control group with the workers in it; None without version 2 of control groups."""
    for line in (sysfile.read_text(root / "proc/self/cgroup") or "").splitlines():
        if line.startswith("0::/"):
            path = PurePosixPath(line.removeprefix("0::"))
            path = path.parent if path.name == "daemon" else path  # agent.service.cgroups
            if path == PurePosixPath("/") or ".." in path.parts:
                return None
            file = root / "sys/fs/cgroup" / path.relative_to("/") / "memory.pressure"
            return parse_pressure(sysfile.read_text(file) or "", over_s=over_s)
    return None
