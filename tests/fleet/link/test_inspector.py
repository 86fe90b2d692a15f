from __future__ import annotations

import pytest

from agent.fleet.link.failure import Kind, LinkFailure
from agent.fleet.link.inspector import Inspector, Oversized

CONNACK = b"\x20\x02\x00\x00"
LIMIT = 200


def length(size: int) -> bytes:
    out = bytearray()
    while True:
        size, low = divmod(size, 128)
        out.append(low | (0x80 if size else 0))
        if not size:
            return bytes(out)


def publish(topic: bytes, payload: bytes, *, qos: int = 0, packet_id: int = 7, flags: int = 0) -> bytes:
    body = len(topic).to_bytes(2, "big") + topic + (packet_id.to_bytes(2, "big") if qos else b"") + payload
    return bytes([0x30 | qos << 1 | flags]) + length(len(body)) + body


def inspect(data: bytes, step: int) -> None:
    inspector = Inspector(LIMIT, version5=True)
    for at in range(0, len(data), step):
        inspector.feed(data[at : at + step])


ORDINARY = b"".join(
    [
        CONNACK,
        publish(b"a/b", b"x" * 150, qos=1),
        b"\x40\x02\x00\x01",
        b"\x90\x03\x00\x01\x01",
        publish(b"a", b""),
        b"\xd0\x00",
        b"\xb0\x02\x00\x02",
    ]
)


@pytest.mark.parametrize("step", [1, 2, 3, 7, 64, 10_000])
def test_what_brokers_send_goes_through_unchanged_however_it_is_cut(step: int) -> None:
    inspector = Inspector(LIMIT, version5=True)
    pieces = [inspector.feed(ORDINARY[at : at + step]) for at in range(0, len(ORDINARY), step)]
    assert b"".join(pieces) == ORDINARY


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (publish(b"a", b"x"), "before its CONNACK"),
        (CONNACK + CONNACK, "second CONNACK"),
        (CONNACK + b"\xc0\x00", "type 12"),  # PINGREQ
        (CONNACK + b"\x10\x00", "type 1"),  # CONNECT
        (CONNACK + b"\x82\x00", "type 8"),  # SUBSCRIBE
        (CONNACK + b"\x62\x02\x00\x01", "type 6"),  # PUBREL
        (CONNACK + b"\x00\x00", "type 0"),
        (CONNACK + b"\xf0\x00", "type 15"),  # AUTH, which we never began
        (CONNACK + publish(b"a", b"x", qos=2), "QoS 2"),
        (CONNACK + publish(b"a", b"x", qos=3), "QoS 2"),
        (CONNACK + b"\x41\x02\x00\x01", "flags"),
        (CONNACK + b"\x30\xff\xff\xff\xff\x01", "four bytes"),
        (CONNACK + b"\x30\xff\xff\xff\x7f", "268435460 bytes"),
        (CONNACK + b"\x90\xff\x7f", "16386 bytes"),
    ],
)
@pytest.mark.parametrize("step", [1, 10_000])
def test_what_no_broker_may_send_ends_the_connection(data: bytes, words: str, step: int) -> None:
    with pytest.raises(LinkFailure, match=words) as caught:
        inspect(data, step)
    assert caught.value.kind is Kind.PROTOCOL


def test_the_disconnect_of_a_broker_is_mqtt_5() -> None:
    data = CONNACK + b"\xe0\x01\x8e"
    assert Inspector(LIMIT, version5=True).feed(data) == data
    with pytest.raises(LinkFailure, match="type 14"):
        Inspector(LIMIT, version5=False).feed(data)


@pytest.mark.parametrize("step", [1, 5, 10_000])
@pytest.mark.parametrize("qos", [0, 1])
def test_an_old_broker_s_oversized_message_is_skipped_and_reported(step: int, qos: int) -> None:
    inspector = Inspector(LIMIT, version5=False)
    big = publish("ü/1".encode(), b"x" * 5000, qos=qos, packet_id=513, flags=0x09 if qos else 0x01)
    data = CONNACK + big + publish(b"a", b"small")
    passed = b"".join(inspector.feed(data[at : at + step]) for at in range(0, len(data), step))
    assert passed == CONNACK + publish(b"a", b"small")
    packet_id = 513 if qos else 0
    assert list(inspector.oversized) == [Oversized("ü/1", qos, True, bool(qos), packet_id, len(big))]


@pytest.mark.parametrize(
    "body",
    [b"\xff\xff" + b"x" * 5000, b"\x00\x02\xff\xff" + b"x" * 5000],
    ids=["a topic longer than the packet", "a topic that is not UTF-8"],
)
def test_an_oversized_message_that_is_broken_ends_the_connection(body: bytes) -> None:
    with pytest.raises(LinkFailure, match="topic"):
        Inspector(LIMIT, version5=False).feed(CONNACK + b"\x30" + length(len(body)) + body)
