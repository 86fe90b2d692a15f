"""Telemetry as a source of its own: what waits, what was dropped, what was written to the card."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.fleet.telemetry.outbox import Outbox
from agent.fleet.telemetry.sample import Values
from agent.fleet.telemetry.source import Look


@dataclass
class OwnSource:
    outbox: Outbox
    type: str = field(default="telemetry", init=False)

    async def read(self) -> Values:
        state = self.outbox.state
        return {
            "waiting_samples": state.samples,
            "memory_samples": state.memory_samples,
            "disk_bytes": state.disk_bytes,
            "dropped": state.dropped,
            "expired": state.expired,
            "writes_per_hour": state.written_last_hour.commits,
            "written_bytes_per_hour": state.written_last_hour.bytes,
            "trouble": state.trouble,
        }

    async def look(self) -> Look:
        return Look()
