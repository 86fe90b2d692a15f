"""A command for some devices, before it is sent."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from agent.fleet.link.messages import Publication
from agent.fleet.topics import Topics, check_name

LONGEST_S: Final = 2**32 - 2
"""MQTT's own limit."""


def _new_id() -> str:
    return f"fleet-{secrets.token_hex(8)}"


@dataclass(frozen=True, kw_only=True)
class Order:
    """One id for all devices. `timeout_s` is how long answers are waited for, `expires_s` how long a device may begin.

    With `leave` the command stays with the broker for devices that have not answered. Raises `RequestError` for an
    operation that no topic can carry.
    """

    operation: str
    args: Mapping[str, Any] = field(default_factory=dict)
    devices: tuple[str, ...]
    timeout_s: float
    expires_s: float
    leave: bool = False
    stream: bool = False
    id: str = field(default_factory=_new_id)

    def __post_init__(self) -> None:
        check_name(self.operation, "operation")

    @property
    def below(self) -> str:
        """The command's topic below P."""
        return f"cmd/{self.operation}/{self.id}"

    def publication(self, topics: Topics, now: float) -> Publication:
        """`now` is Unix time. Retained, so that a device that connects in a moment gets it; the broker forgets it
        when it expires (MQTT 5), even if nobody clears it."""
        payload = {
            "status": "init",
            "issued_at": round(now, 3),
            "expires_at": round(now + self.expires_s, 3),
            "args": self.args,
        }
        return Publication(
            topic=topics.command(self.operation, self.id),
            payload=msgspec.json.encode(payload),
            retain=True,
            expiry_s=min(LONGEST_S, max(1, math.ceil(self.expires_s))),
            content_type="application/json",
        )

    def clearing(self, topics: Topics) -> Publication:
        return Publication(topic=topics.command(self.operation, self.id), retain=True)
