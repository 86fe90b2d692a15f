"""One update, as the journal has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from agent.updates.parts import Health
from agent.updates.policy import Terms
from agent.updates.states import State

Origin = Literal["desired", "command", "person"]
"""The retained desired state, a command from the fleet, or somebody at the device."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """`target` is the version that was asked for, None for the latest; `version` and `digest` (SHA-256 of its
    manifest.json) are what it came to. `rev` names the desired state that asks for it. `adopted`: this update brought
    the version into the store. `previous` is the version that was active before the switch, None where there was none.

    `attempts` failed in a row; `retry_at` is Unix time. `interruptions` counts how often the daemon was lost while the
    candidate ran. `bytes_done` of `bytes_total` are in place; `bytes_best` is how many were when `attempts` last began
    anew; `bytes_fetched` came over the network, all attempts together. `served_s` and `health` are of the probation.
    """

    id: int = 0
    name: str
    target: str | None
    origin: Origin
    rev: str = ""
    terms: Terms = field(default_factory=Terms)
    state: State = State.WANTED
    reason: str = ""
    version: str | None = None
    digest: str | None = None
    adopted: bool = False
    previous: str | None = None
    attempts: int = 0
    retry_at: float | None = None
    interruptions: int = 0
    bytes_done: int = 0
    bytes_total: int = 0
    bytes_missing: int = 0
    bytes_fetched: int = 0
    bytes_best: int = 0
    figures: Mapping[str, Any] = field(default_factory=dict)
    served_s: float = 0.0
    health: Health = field(default_factory=Health)
    created_at: float = 0.0
    changed_at: float = 0.0

    @property
    def label(self) -> str:
        """For sentences."""
        return f"{self.name} {self.version or self.target or '(latest)'}"


@dataclass(frozen=True, kw_only=True)
class Rejected:
    """A version that was tested and refused: its manifest's SHA-256 is what is remembered."""

    digest: str
    name: str
    version: str
    reason: str
    at: float
