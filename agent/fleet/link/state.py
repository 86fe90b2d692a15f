"""How the link is doing, for /status, metrics and telemetry."""

from __future__ import annotations

from dataclasses import dataclass

from agent.fleet.link.messages import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkState:
    """A moment's picture. Counts are since the link was made.

    `connected_s` is how long the present connection has lasted; `reconnects` counts connections after the first;
    `retry_s` is when the next attempt begins. `last_error` stays after a reconnect, to say why there was one.
    """

    connected: bool = False
    broker: str | None = None
    protocol: Protocol | None = None
    connected_s: float | None = None
    reconnects: int = 0
    attempts_failed: int = 0
    retry_s: float | None = None
    last_error: str | None = None
    refused_subscriptions: tuple[str, ...] = ()
    packet_limit_bytes: int | None = None
    in_flight: int = 0
    sent_messages: int = 0
    received_messages: int = 0
    ignored_messages: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0


@dataclass
class Tally:
    """What connections that have ended had counted."""

    sent_messages: int = 0
    received_messages: int = 0
    ignored_messages: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
