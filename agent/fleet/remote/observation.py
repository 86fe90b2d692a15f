"""What a message of a device is about. Pure: a topic and a payload in, one observation out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from agent.fleet.remote.payload import GarbledError, inflated, read
from agent.fleet.remote.roster import HEALTH, MODELS, REGISTRATION
from agent.fleet.topics import FleetTopics

SHOWN_BYTES: Final = 400
"""Of a payload that is no JSON."""


class Kind(StrEnum):
    REGISTRATION = "registration"
    HEALTH = "health"
    MODELS = "models"
    MEASUREMENT = "measurement"
    EVENT = "event"
    ALARM = "alarm"
    COMMAND = "command"


BELOW: Final = (HEALTH, "a/+", MODELS, REGISTRATION, "e/+", "m/+", "cmd/+/+")
"""What is watched of a device, what matters most first: a broker may send only part of what it keeps."""
_TYPED: Final = {"m": Kind.MEASUREMENT, "e": Kind.EVENT, "a": Kind.ALARM}
_PLAIN: Final = {REGISTRATION: Kind.REGISTRATION, HEALTH: Kind.HEALTH, MODELS: Kind.MODELS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """`type` is of a measurement, event or alarm; of a command OPERATION/ID. `data` is the JSON, None where the topic
    was cleared. `garbled` says what came instead of JSON, and `raw` shows the beginning of it."""

    device: str
    kind: Kind
    type: str = ""
    data: Any = None
    cleared: bool = False
    garbled: str = ""
    raw: str = ""

    def as_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {"device": self.device, "kind": self.kind.value}
        if self.type:
            found["type"] = self.type
        if self.garbled:
            return {**found, "garbled": self.garbled, "raw": self.raw}
        return {**found, "cleared": True} if self.cleared else {**found, "data": self.data}


def observe(fleet: FleetTopics, topic: str, payload: bytes, *, oversized_bytes: int = 0) -> Observation | None:
    """None for a topic that nothing is known of."""
    parsed = fleet.parse(topic)
    if parsed is None:
        return None
    device, below = parsed[0].device, parsed[1]
    kind, type = _PLAIN.get(below), ""
    if kind is None:
        first, *rest = below.split("/")
        if first in _TYPED and len(rest) == 1:
            kind, type = _TYPED[first], rest[0]
        elif first == "cmd" and len(rest) == 2:
            kind, type = Kind.COMMAND, "/".join(rest)
        else:
            return None
    if not payload and not oversized_bytes:
        return Observation(device=device, kind=kind, type=type, cleared=True)
    try:
        data = read(b"" if oversized_bytes else inflated(payload), oversized_bytes=oversized_bytes)
    except GarbledError as error:
        raw = payload[:SHOWN_BYTES].decode("utf-8", "backslashreplace")
        return Observation(device=device, kind=kind, type=type, garbled=str(error), raw=raw)
    return Observation(device=device, kind=kind, type=type, data=data)
