"""Alarms: when one is raised, and when it is cleared. Pure.

A rule has two limits, so that a value between them changes nothing, and a time for each: the value must stay beyond
the limit that long. A value that cannot be read changes nothing and starts the time anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

Severity = Literal["critical", "major", "minor", "warning"]
"""thin-edge.io's."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """`reading` names the value. Raised when it is at or above `raise_at` (below it, if `below`) for `raise_s`,
    cleared when it is below `clear_at` (at or above it) for `clear_s`."""

    name: str
    reading: str
    severity: Severity
    raise_at: float
    clear_at: float
    below: bool = False
    raise_s: float = 0.0
    clear_s: float = 0.0
    text: str = ""
    """What is wrong, with `{value}` and `{limit}`."""

    def __post_init__(self) -> None:
        if (self.clear_at < self.raise_at) if self.below else (self.clear_at > self.raise_at):
            raise ValueError(f"alarm {self.name}: it would be cleared at a value at which it is raised")

    def is_bad(self, value: float) -> bool:
        return value < self.raise_at if self.below else value >= self.raise_at

    def is_good(self, value: float) -> bool:
        return value >= self.clear_at if self.below else value < self.clear_at


class Turn(StrEnum):
    RAISED = "raised"
    CLEARED = "cleared"


@dataclass(frozen=True, slots=True)
class Alarm:
    """`since` is when the value began to ask for the other state."""

    raised: bool = False
    since: float | None = None


def step(rule: Rule, alarm: Alarm, value: float | None, now: float) -> tuple[Alarm, Turn | None]:
    """The alarm after a reading, and what has happened, if anything has."""
    asks = value is not None and (rule.is_good(value) if alarm.raised else rule.is_bad(value))
    if not asks:
        return (alarm if alarm.since is None else replace(alarm, since=None)), None
    since = now if alarm.since is None else alarm.since
    if now - since < (rule.clear_s if alarm.raised else rule.raise_s):
        return Alarm(alarm.raised, since), None
    return Alarm(not alarm.raised), Turn.CLEARED if alarm.raised else Turn.RAISED
