"""Pressure stall information: how much of the time work waited for a resource (kernel.org, accounting/psi)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agent.hardware import sysfile


@dataclass(frozen=True, kw_only=True)
class Pressure:
    """In percent of the last 60 s: `some_percent` at least one task waited, `full_percent` all of them."""

    some_percent: float
    full_percent: float


def parse_pressure(text: str) -> Pressure | None:
    found = dict(re.findall(r"^(some|full) .*?avg60=([0-9]{1,3}\.[0-9]{1,2})\b", text, re.MULTILINE))
    if "some" not in found:
        return None
    return Pressure(some_percent=float(found["some"]), full_percent=float(found.get("full", 0.0)))


def read_pressure(resource: Literal["memory", "cpu", "io"], root: Path = Path("/")) -> Pressure | None:
    """None where the kernel was built without it, or booted with `psi=0` (Raspberry Pi OS)."""
    return parse_pressure(sysfile.read_text(root / "proc/pressure" / resource) or "")
