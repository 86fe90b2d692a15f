"""Who speaks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class About:
    """This process on this machine. `boot_id` names the machine's present boot."""

    version: str
    board: str
    architecture: str
    boot_id: str
    pid: int
