"""What goes to the broker and what comes from it, and what becomes of the line itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from agent.errors import RequestError
from agent.fleet.topics import TOPIC_BYTES

Protocol = Literal["5", "3.1.1"]
QoS = Literal[0, 1]

_FIXED_HEADER_BYTES: Final = 5
_PROPERTY_LENGTH_BYTES: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """A message to publish. What follows `retain` travels under MQTT 5 only and is left out under 3.1.1.

    Raises `RequestError` for a topic that cannot be published to.
    """

    topic: str
    payload: bytes = b""
    qos: QoS = 1
    retain: bool = False
    response_topic: str | None = None
    correlation: bytes | None = None
    expiry_s: int | None = None
    content_type: str | None = None
    user_properties: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for topic in (self.topic, self.response_topic):
            if topic is not None and not _publishable(topic):
                raise RequestError(f"topic = {topic[:80]!r} cannot be published to.", param="topic")

    @property
    def overhead_bytes(self) -> int:
        """The packet without its payload, under MQTT 5; a few bytes too many, never too few."""
        size = _FIXED_HEADER_BYTES + 2 + len(self.topic.encode()) + 2 + _PROPERTY_LENGTH_BYTES
        size += 3 + len((self.response_topic or "").encode()) + 3 + len(self.correlation or b"")
        size += 5 + 3 + len((self.content_type or "").encode())
        return size + sum(5 + len(name.encode()) + len(value.encode()) for name, value in self.user_properties)

    @property
    def packet_bytes(self) -> int:
        return self.overhead_bytes + len(self.payload)


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A message from the broker, on a topic that was subscribed to.

    With QoS 1 the broker keeps it until `Link.acknowledge`: call that for each one, after what it asks for is on the
    disk. Until then it comes again after each reconnect, with `duplicate` set. `oversized_bytes` is not 0 where the
    packet was larger than the link takes (which only MQTT 3.1.1 brokers send); its payload was thrown away.
    """

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    duplicate: bool = False
    response_topic: str | None = None
    correlation: bytes | None = None
    expiry_s: int | None = None
    content_type: str | None = None
    user_properties: tuple[tuple[str, str], ...] = ()
    oversized_bytes: int = 0
    packet_id: int = 0
    connection: int = 0
    """Which connection brought it: an acknowledgement means nothing on another one."""

    @property
    def size_bytes(self) -> int:
        return len(self.topic) + len(self.payload)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """The line stands and the topics are subscribed to: announce everything again.

    `refused` are filters that the broker does not let this device subscribe to. Also sent when certificates were
    exchanged, without a `Disconnected` before it.
    """

    broker: str
    protocol: Protocol
    session_present: bool
    refused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Disconnected:
    """The line is down; the next attempt begins in `retry_s` seconds."""

    reason: str
    retry_s: float


Event = Connected | Disconnected | Received


def _publishable(topic: str) -> bool:
    try:
        encoded = topic.encode()
    except UnicodeEncodeError:
        return False
    return 0 < len(encoded) <= TOPIC_BYTES and not any(character in topic for character in "+#\0")
