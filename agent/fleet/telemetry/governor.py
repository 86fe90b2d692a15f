"""The governor as a source: how far it slows the board down, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from agent.fleet.telemetry.sample import Values
from agent.fleet.telemetry.source import Look

_SENT = ("mode", "cause", "rung", "threads", "max_mhz", "pause_ratio", "partials_ratio", "admit", "reason", "shedding")


class HasStatus(Protocol):
    def status(self) -> Mapping[str, Any]:
        """What `/status` shows of it."""
        ...


@dataclass
class GovernorSource:
    governor: HasStatus
    type: str = field(default="governor", init=False)

    async def read(self) -> Values:
        status = self.governor.status()
        return {name: status.get(name) for name in _SENT}

    async def look(self) -> Look:
        return Look()
