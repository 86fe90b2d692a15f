"""A broker that lies. It may get nothing done, but it must not take the daemon down, nor fill its memory."""

from __future__ import annotations

import asyncio
import resource
import sys

import pytest

from agent.fleet.link.backoff import Pauses
from agent.fleet.link.inbox import HARD, ROOM_MESSAGES
from agent.fleet.link.messages import Connected, Disconnected, Received
from tests.fleet.broker import Broker
from tests.fleet.link.linked import COMMAND, Linked, soon, until
from tests.fleet.link.relay import CONNACK_5, Relay, Script, Server
from tests.fleet.link.test_inspector import publish

SUBACK = b"\x90\x04\x00\x01\x00\x01"
TOPIC = COMMAND.encode()


def message(payload: bytes = b"x", *, topic: bytes = TOPIC, qos: int = 1, properties: bytes = b"\x00") -> bytes:
    return publish(topic, properties + payload, qos=qos)


def saying(*words: bytes) -> Script:
    """Answers CONNECT with the first, and says the others after the SUBSCRIBE."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        writer.write(words[0])
        await reader.read(65_536)
        for word in words[1:]:
            writer.write(word)
            await writer.drain()
        await asyncio.Event().wait()

    return script


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([b"HTTP/1.1 400 Bad Request\r\n\r\n"], "before its CONNACK"),
        ([b"\x20\x01\x00"], "malformed"),
        ([b"\x20\x03\x00\xee\x00"], "malformed"),
        ([b"\x20\x06\x00\x00\x03\x21\x00\x00"], "malformed"),  # receive maximum 0
        ([b"\x20\x05\x00\x00\x02\x7f\x00"], "malformed"),  # no such property
        ([b"\x20\x03\x00\x88\x00"], "server unavailable"),
        ([b"\x20\x03\x00\x8a\x00"], "banned"),
        ([b"\x20\x03\x00\x85\x00"], "client id"),
        ([CONNACK_5, CONNACK_5], "second CONNACK"),
        ([CONNACK_5, SUBACK, b"\xc0\x00" * 1000], "type 12"),
        ([CONNACK_5, SUBACK, b"\x30\xff\xff\xff\x7f"], "268435460 bytes"),
        ([CONNACK_5, SUBACK, b"\x32\x01\x00"], "malformed"),
        ([CONNACK_5, SUBACK, publish(TOPIC, b"", qos=1)], "malformed"),
        ([CONNACK_5, SUBACK, message(topic=b"\xff\xfe")], "not UTF-8"),
        ([CONNACK_5, SUBACK, message(properties=b"\x05\x26\x00\x01\xff\x00")], "malformed"),
        ([CONNACK_5, SUBACK, message(properties=b"\xff\xff\xff\xff\x7f")], "malformed"),
        ([CONNACK_5, SUBACK, message(qos=2)], "QoS 2"),
        ([CONNACK_5, SUBACK, b"\xd0\x01\x00"], "malformed"),
        ([CONNACK_5, SUBACK, b"\x40\x00"], "malformed"),
        ([CONNACK_5, SUBACK, b"\xe0\x01\x8b"], "shuts down"),
        ([CONNACK_5, SUBACK, b"\xe0\x01\xee"], "malformed"),
        ([CONNACK_5, SUBACK, b"\xe0\x00"], "normal disconnection"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_ends_the_connection_with_a_reason(words: list[bytes], reason: str) -> None:
    async with (
        Server(saying(*words)) as server,
        Linked(server.url, polite=False, protocol="5", connect_timeout_s=5) as linked,
    ):
        assert reason in (await linked.next(Disconnected)).reason
        await linked.next(Disconnected)  # and the next attempt comes


@pytest.mark.parametrize(
    "words",
    [
        message(topic=b""),  # an alias that was never agreed on
        message(topic=b"te/device/other/service/edge-agent/cmd/restart/1"),
        message(topic=b"\x00"),
        message(topic=b"+/#"),
        b"\x40\x02\xff\xff" * 100,  # confirmations of what was never sent
        b"\x90\x04\xff\xff\x00\x01",
        b"\xb0\x04\x00\x09\x00\x00",
        b"\xd0\x00" * 100,
    ],
    ids=["alias", "foreign", "NUL", "wildcards", "PUBACK", "SUBACK", "UNSUBACK", "PINGRESP"],
)
async def test_what_is_passed_over(words: bytes) -> None:
    async with (
        Server(saying(CONNACK_5, SUBACK, words, message(b"after"))) as server,
        Linked(server.url, polite=False) as linked,
    ):
        assert (await linked.next(Received)).payload == b"after"
        assert len(linked.received()) == 1


async def test_a_flood_fills_no_memory_and_stops_nothing() -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        writer.write(CONNACK_5)
        await reader.read(65_536)
        writer.write(SUBACK)
        body = message(b"x" * 100_000, qos=0)
        while True:
            writer.write(body)
            await writer.drain()
            flooded[0] += len(body)

    flooded = [0]
    async with Server(flood) as server, Linked(server.url, polite=False, max_packet_bytes=200_000) as linked:
        await linked.next(Connected)
        linked._tasks[1].cancel()  # the daemon is busy with other things
        before = peak_bytes()
        await until(lambda: linked.link._inbox.full)
        last = -1
        while last != flooded[0]:  # until the sockets between us are full too
            last = flooded[0]
            await asyncio.sleep(0.3)
        assert peak_bytes() - before < 60_000_000
        assert linked.link.state.connected
        await soon(linked.link.close())


def peak_bytes() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


async def test_an_old_broker_s_giant_message_is_reported_without_its_payload(broker: Broker) -> None:
    """Such a broker cannot know the limit and would send it again after each reconnect."""
    async with Relay(broker.port, old_broker=True) as relay:
        async with Linked(relay.url, max_packet_bytes=4096) as linked:
            await linked.next(Connected)
            await asyncio.to_thread(broker.publish, COMMAND, b"x" * 300_000)
            await asyncio.to_thread(broker.publish, COMMAND, b"small")
            giant = await linked.next(Received)
            assert (giant.topic, giant.payload, giant.qos) == (COMMAND, b"", 1)
            assert giant.oversized_bytes > 300_000
            assert (await linked.next(Received)).payload == b"small"
            assert linked.link.state.reconnects == 0
        async with Linked(relay.url, max_packet_bytes=4096) as linked:
            await linked.next(Connected)
            await asyncio.to_thread(broker.publish, COMMAND, b"next")
            assert (await linked.next(Received)).payload == b"next", "the giant was acknowledged"


async def test_a_giant_message_never_reaches_a_device_that_named_its_limit(broker: Broker) -> None:
    async with Linked(broker.url(), max_packet_bytes=4096) as linked:
        await linked.next(Connected)
        await asyncio.to_thread(broker.publish, COMMAND, b"x" * 300_000)
        await asyncio.to_thread(broker.publish, COMMAND, b"small")
        assert (await linked.next(Received)).payload == b"small"


async def test_subscriptions_that_the_broker_refuses_are_named() -> None:
    """Eight to a packet; of the second packet, the last answer is missing."""
    first = b"\x90\x0b\x00\x01\x00" + b"\x01\x87\x01\x01\x01\x01\x01\x01"
    second = b"\x90\x04\x00\x02\x00" + b"\x01"
    filters = [f"te/{index}" for index in range(10)]
    async with Server(saying(CONNACK_5, first, second)) as server:
        async with Linked(server.url, polite=False, subscriptions=filters) as linked:
            assert (await linked.next(Connected)).refused == ("te/1", "te/9")
            assert linked.link.state.refused_subscriptions == ("te/1", "te/9")


async def test_two_devices_of_the_same_name_do_not_fight() -> None:
    """As mosquitto 2.1 and most others say it; 2.0 only hangs up, and the pauses grow."""
    slow = Pauses(first_s=0.1, cap_s=3600)
    async with Server(saying(CONNACK_5, SUBACK, b"\xe0\x01\x8e")) as server:
        async with Linked(server.url, polite=False, pauses=slow) as linked:
            lost = await linked.next(Disconnected)
            assert "same client id" in lost.reason
            assert lost.retry_s >= 1800


async def test_a_broker_that_confirms_no_subscription_is_given_up() -> None:
    async with Server(saying(CONNACK_5)) as server, Linked(server.url, polite=False, connect_timeout_s=0.4) as linked:
        assert "confirm the subscriptions" in (await linked.next(Disconnected)).reason


async def test_a_broker_that_turns_the_checks_off_is_still_used() -> None:
    server_keep_alive_0 = b"\x20\x06\x00\x00\x03\x13\x00\x00"
    async with (
        Server(saying(server_keep_alive_0, SUBACK, message(b"hello"))) as server,
        Linked(server.url, polite=False) as linked,
    ):
        assert (await linked.next(Received)).payload == b"hello"


async def test_a_mistake_of_ours_ends_one_connection_and_not_the_link(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agent.fleet.link import session

    ours = session.received_of

    def mistaken(*arguments: object) -> Received:
        monkeypatch.setattr(session, "received_of", ours)
        raise RuntimeError("a mistake")

    async with Linked(broker.url()) as linked:
        await linked.next(Connected)
        monkeypatch.setattr(session, "received_of", mistaken)
        await asyncio.to_thread(broker.publish, COMMAND, b"x")
        assert "something went wrong" in (await linked.next(Disconnected)).reason
        assert (await linked.next(Received)).duplicate


async def test_messages_before_the_answer_to_subscribe_are_taken_when_there_are_too_many() -> None:
    """A resumed session may bring more than was asked for; a flood that never ends there fills no memory."""

    async def owing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        writer.write(CONNACK_5)
        await reader.read(65_536)
        writer.write(message(b"owed", qos=0) * (HARD * ROOM_MESSAGES + 500))
        writer.write(SUBACK + message(b"after"))
        await writer.drain()
        await asyncio.Event().wait()

    async with Server(owing) as server, Linked(server.url, polite=False) as linked:
        assert (await linked.next(Received, lambda received: received.payload == b"after")).qos == 1
        assert linked.link.state.reconnects == 0


async def test_connections_that_end_half_way_leave_nothing_that_counts_as_waiting() -> None:
    """Each brings messages and then ends before the answer to SUBSCRIBE; the link must go on reading afterwards."""
    clients = 0

    async def stumbling(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal clients
        clients += 1
        await reader.read(65_536)
        writer.write(CONNACK_5)
        await reader.read(65_536)
        if clients <= 3:
            writer.write(message(b"early", qos=0) * 200)
            await writer.drain()
            return
        writer.write(SUBACK + message(b"whole"))
        await asyncio.Event().wait()

    async with Server(stumbling) as server, Linked(server.url, polite=False) as linked:
        assert (await linked.next(Received)).payload == b"whole"
        assert not linked.link._inbox.full
