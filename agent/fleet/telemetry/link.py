"""The link as a source: how often it broke, and how much went over it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from agent.fleet.link.state import LinkState
from agent.fleet.telemetry.sample import Values
from agent.fleet.telemetry.source import Look


class HasState(Protocol):
    @property
    def state(self) -> LinkState: ...


@dataclass
class LinkSource:
    link: HasState
    type: str = field(default="link", init=False)

    async def read(self) -> Values:
        state = self.link.state
        return {
            "connected": state.connected,
            "connected_s": None if state.connected_s is None else round(state.connected_s),
            "reconnects": state.reconnects,
            "attempts_failed": state.attempts_failed,
            "sent_messages": state.sent_messages,
            "received_messages": state.received_messages,
            "sent_bytes": state.sent_bytes,
            "received_bytes": state.received_bytes,
            "last_error": state.last_error,
        }

    async def look(self) -> Look:
        return Look()
