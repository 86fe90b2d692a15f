"""What the link is made with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from agent.fleet.link.address import Address
from agent.fleet.link.backoff import Pauses
from agent.fleet.link.messages import QoS


@dataclass(frozen=True, kw_only=True)
class LinkSettings:
    """`brokers` are tried in this order. Secrets are in no `repr`. `max_packet_bytes` holds both ways."""

    brokers: tuple[Address, ...]
    client_id: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    password_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    alpn: tuple[str, ...] = ()
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    keepalive_s: int = 60
    session_expiry_s: int = 604_800
    connect_timeout_s: float = 15.0
    pauses: Pauses = field(default_factory=Pauses)
    max_packet_bytes: int = 256 * 1024
    in_flight: int = 32
    subscription_qos: QoS = 1
    """0: retained messages come without the limit of the broker's queue, and what comes may be lost."""
    watch_s: float = 10.0
    """How often the files are looked at."""

    @property
    def files(self) -> tuple[Path, ...]:
        """Those whose change means other credentials."""
        return tuple(file for file in (self.ca_file, self.cert_file, self.key_file, self.password_file) if file)
