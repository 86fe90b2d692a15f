from __future__ import annotations

import base64
import hashlib
import struct

import pytest

from agent.fleet.link.address import Address
from agent.fleet.link.failure import Kind, LinkFailure
from agent.fleet.link.websocket import FrameReader, Upgrade, WebSocket, frame

ADDRESS = Address.parse("ws://broker:9001/mqtt?x=1")
KEY = b"0123456789abcdef"


def accept(key: bytes = KEY) -> bytes:
    guid = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    return base64.b64encode(hashlib.sha1(base64.b64encode(key) + guid).digest())


ANSWER = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: " + accept() + b"\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
)


def served(opcode: int, payload: bytes, *, last: bool = True) -> bytes:
    """A frame as a server sends it."""
    size = len(payload)
    head = bytes([opcode | (0x80 if last else 0)])
    if size < 126:
        return head + bytes([size]) + payload
    return head + (struct.pack("!BH", 126, size) if size < 65_536 else struct.pack("!BQ", 127, size)) + payload


@pytest.mark.parametrize("step", [1, 10, 10_000])
def test_the_upgrade_asks_for_mqtt_and_keeps_what_came_after_the_answer(step: int) -> None:
    upgrade = Upgrade(ADDRESS, KEY)
    assert upgrade.request.startswith(b"GET /mqtt?x=1 HTTP/1.1\r\nHost: broker:9001\r\n")
    assert b"Sec-WebSocket-Protocol: mqtt\r\n" in upgrade.request
    pieces = [ANSWER[at : at + step] for at in range(0, len(ANSWER), step)]
    assert [upgrade.feed(piece) for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
    assert upgrade.feed(pieces[-1] + b"rest") == b"rest"


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (b"HTTP/1.1 404 Not Found\r\n\r\n", Kind.UNREACHABLE, "404 Not Found"),
        (b"\x20\x02\x00\x00\r\n\r\n", Kind.UNREACHABLE, "no WebSocket"),
        (ANSWER.replace(accept(), accept(b"x" * 16)), Kind.PROTOCOL, "wrong"),
        (ANSWER.replace(b": mqtt", b": chat"), Kind.PROTOCOL, "does not speak MQTT"),
        (b"x" * 20_000, Kind.PROTOCOL, "does not end"),
    ],
)
def test_an_answer_that_is_none(answer: bytes, kind: Kind, words: str) -> None:
    with pytest.raises(LinkFailure, match=words) as caught:
        Upgrade(ADDRESS, KEY).feed(answer)
    assert caught.value.kind is kind


@pytest.mark.parametrize("size", [0, 1, 5, 125, 126, 65_535, 65_536])
def test_a_client_s_frame_is_masked(size: int) -> None:
    payload = bytes(index % 251 for index in range(size))
    made = frame(2, payload, b"abcd")
    head = 2 + {True: 0, False: 2 if size < 65_536 else 8}[size < 126]
    assert made[1] & 0x80
    assert made[head : head + 4] == b"abcd"
    assert bytes(byte ^ b"abcd"[index % 4] for index, byte in enumerate(made[head + 4 :])) == payload


@pytest.mark.parametrize("step", [1, 3, 100_000])
def test_frames_are_read_however_they_are_cut(step: int) -> None:
    data = b"".join(
        [
            served(2, b"one", last=False),
            served(9, b"still there?"),
            served(0, b"two"),
            served(2, b""),
            served(10, b"unasked"),
            served(2, b"x" * 70_000),
            served(8, b"\x03\xe8"),
            served(2, b"after the end"),
        ]
    )
    reader = FrameReader()
    assert b"".join(reader.feed(data[at : at + step]) for at in range(0, len(data), step)) == b"onetwo" + b"x" * 70_000
    assert reader.closed
    assert reader.replies[:2] == bytes([0x8A, 0x80 | len(b"still there?")])


@pytest.mark.parametrize(
    "data",
    [served(1, b"text"), frame(2, b"masked"), b"\xc2\x00", served(3, b"x"), served(9, b"x" * 126)],
    ids=["text", "masked", "extension", "unknown", "long ping"],
)
def test_frames_that_no_server_may_send(data: bytes) -> None:
    with pytest.raises(LinkFailure) as caught:
        FrameReader().feed(data)
    assert caught.value.kind is Kind.PROTOCOL


def test_who_pings_without_reading_the_answers_fills_no_memory() -> None:
    reader = FrameReader()
    for _ in range(10_000):
        reader.feed(served(9, b"x" * 125))
    assert len(reader.replies) < 70_000


class Trickle:
    """A socket that takes a few bytes, then none for a while."""

    def __init__(self) -> None:
        self.sent = bytearray()
        self.patience = 0

    def recv(self, size: int, /) -> bytes:
        raise BlockingIOError

    def send(self, data: bytes, /) -> int:
        self.patience += 1
        if self.patience % 3 == 0:
            raise BlockingIOError
        self.sent += data[:5]
        return len(data[:5])


def test_a_socket_that_takes_little_at_a_time_gets_whole_frames() -> None:
    socket = Trickle()
    websocket = WebSocket(socket)
    messages = [b"first message", b"second message"]
    for message in messages:
        while True:
            try:
                assert websocket.send(message) == len(message)
                break
            except BlockingIOError:
                pass
    while websocket.wants_write:
        websocket.flush()
    sent = bytes(socket.sent)
    unmasked = []
    while sent:
        size, mask = sent[1] & 0x7F, sent[2:6]
        unmasked.append(bytes(byte ^ mask[index % 4] for index, byte in enumerate(sent[6 : 6 + size])))
        sent = sent[6 + size :]
    assert unmasked == messages
