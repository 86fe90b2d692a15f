"""What a broker may send, checked packet by packet before the MQTT library sees it. Pure: bytes in, bytes out.

The library would collect a packet of 256 MB in memory, answer pings that no broker may send, and keep QoS 2 messages
that nobody subscribed to. So: only a server's packet types, QoS 0 and 1, one CONNACK, and it first, and nothing longer
than agreed on. An MQTT 5 broker knows the limit; one of 3.1.1 cannot, and would send the same message after each
reconnect: of those the payload is skipped, and the message is reported as oversized.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from agent.fleet.link.failure import Kind, LinkFailure

CONNACK, PUBLISH, PUBACK, SUBACK, UNSUBACK, PINGRESP, DISCONNECT = 2, 3, 4, 9, 11, 13, 14
_FROM_SERVERS: Final = {
    CONNACK: "CONNACK",
    PUBLISH: "PUBLISH",
    PUBACK: "PUBACK",
    SUBACK: "SUBACK",
    UNSUBACK: "UNSUBACK",
    PINGRESP: "PINGRESP",
}


@dataclass(frozen=True)
class Oversized:
    """A PUBLISH whose payload was skipped; `packet_id` is 0 with QoS 0."""

    topic: str
    qos: int
    retain: bool
    duplicate: bool
    packet_id: int
    packet_bytes: int


class Inspector:
    """Fed with what the socket gave; returns what may go on, in the same order."""

    def __init__(self, limit_bytes: int, *, version5: bool) -> None:
        self._limit_bytes = limit_bytes
        self._version5 = version5
        self._header = bytearray()
        """Type and length of a packet, until they are complete."""
        self._pass_bytes = 0
        self._skip_bytes = 0
        self._head: bytearray | None = None
        """Topic and packet id of an oversized message, until they are complete."""
        self._total_bytes = 0
        self._seen_connack = False
        self.oversized: deque[Oversized] = deque()

    def feed(self, data: bytes) -> bytes:
        """Raises `LinkFailure` at the first packet that no broker may send."""
        out: list[bytes] = []
        at, end = 0, len(data)
        while at < end:
            if self._pass_bytes:
                piece = data[at : at + self._pass_bytes]
                self._pass_bytes -= len(piece)
                out.append(piece)
                at += len(piece)
            elif self._head is not None:
                at += self._collect_head(data, at)
            elif self._skip_bytes:
                skipped = min(self._skip_bytes, end - at)
                self._skip_bytes -= skipped
                at += skipped
            else:
                self._header.append(data[at])
                at += 1
                if len(self._header) > 1 and self._header[-1] < 0x80:
                    out.append(self._begin(bytes(self._header)))
                    self._header.clear()
                elif len(self._header) > 4:
                    raise _violation("a packet whose length has more than four bytes")
        return b"".join(out)

    def _begin(self, header: bytes) -> bytes:
        """Decides about a packet by its type and length; returns what of the header goes on."""
        kind, flags = header[0] >> 4, header[0] & 0x0F
        size = sum((byte & 0x7F) << (7 * index) for index, byte in enumerate(header[1:]))
        if kind not in _FROM_SERVERS and not (kind == DISCONNECT and self._version5):
            raise _violation(f"a packet of type {kind}")
        if (kind == CONNACK) == self._seen_connack:
            raise _violation("a second CONNACK" if self._seen_connack else "something before its CONNACK")
        self._seen_connack = True
        if flags and kind != PUBLISH:
            raise _violation(f"{_FROM_SERVERS.get(kind, 'DISCONNECT')} with flags {flags:#x}")
        if kind == PUBLISH and flags & 0x06 > 0x02:
            raise _violation("a message of QoS 2, which was not subscribed to")
        if len(header) + size > self._limit_bytes:
            if kind != PUBLISH or self._version5:
                raise _violation(f"a packet of {len(header) + size} bytes, and the limit is {self._limit_bytes}")
            self._head = bytearray(header[:1])
            self._skip_bytes = size
            self._total_bytes = len(header) + size
            return b""
        self._pass_bytes = size
        return header

    def _collect_head(self, data: bytes, at: int) -> int:
        """Takes what the head of an oversized message still lacks. Returns how many bytes that was."""
        head = self._head
        assert head is not None
        qos = head[0] >> 1 & 0x03
        wanted = 3
        if len(head) >= 3:
            wanted = 3 + int.from_bytes(head[1:3], "big") + (2 if qos else 0)
        if wanted - len(head) > self._skip_bytes:
            raise _violation("a message that ends within its topic")
        piece = data[at : at + wanted - len(head)]
        head += piece
        self._skip_bytes -= len(piece)
        if len(head) >= 3:
            topic_end = 3 + int.from_bytes(head[1:3], "big")
            if len(head) == topic_end + (2 if qos else 0):
                self._finish_head(bytes(head), qos, topic_end)
        return len(piece)

    def _finish_head(self, head: bytes, qos: int, topic_end: int) -> None:
        try:
            topic = head[3:topic_end].decode()
        except UnicodeDecodeError:
            raise _violation("a topic that is not UTF-8") from None
        self._head = None
        self.oversized.append(
            Oversized(
                topic=topic,
                qos=qos,
                retain=bool(head[0] & 0x01),
                duplicate=bool(head[0] & 0x08),
                packet_id=int.from_bytes(head[topic_end:], "big"),
                packet_bytes=self._total_bytes,
            )
        )


def _violation(what: str) -> LinkFailure:
    return LinkFailure(Kind.PROTOCOL, f"the broker sent {what}")
