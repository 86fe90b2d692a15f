"""What the sampler reads: a part of the device that can say how it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from agent.fleet.telemetry.sample import Values


@dataclass(frozen=True, slots=True)
class Reading:
    """What an alarm is decided by; `detail` is for its text."""

    value: float | None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. `values` have a `text`."""

    type: str
    values: Values


@dataclass(frozen=True, slots=True)
class Look:
    """A quick look, for alarms and events."""

    readings: Mapping[str, Reading] = field(default_factory=dict)
    events: Sequence[Event] = ()


class Source(Protocol):
    @property
    def type(self) -> str:
        """Of the measurement."""
        ...

    async def read(self) -> Values:
        """The measurement. What it raises is logged, and nothing is recorded."""
        ...

    async def look(self) -> Look: ...
