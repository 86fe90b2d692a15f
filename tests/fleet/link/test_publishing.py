from __future__ import annotations

import asyncio
import struct

import pytest

from agent.errors import NotConnectedError, PublishRefusedError, TooLargeError
from agent.fleet.link.messages import Connected, Disconnected, Publication, Received
from tests.fleet.broker import Broker
from tests.fleet.link.linked import COMMAND, COMMANDS, UP, Linked, soon, until
from tests.fleet.link.relay import CONNACK_5, Relay, Server


def connack(*properties: bytes) -> bytes:
    body = b"".join(properties)
    return bytes([0x20, 3 + len(body), 0, 0, len(body)]) + body


class Confirming:
    """A broker of few words: CONNACK, then `answer` for each PUBLISH, with its packet id, or nothing."""

    def __init__(self, hello: bytes = CONNACK_5, *, code: int | None = 0) -> None:
        self.hello = hello
        self.code = code
        self.publishes: list[bytes] = []
        """Each from its first byte on."""
        self.writers: list[asyncio.StreamWriter] = []

    def confirm(self, packet_id: int, code: int = 0) -> None:
        self.writers[-1].write(b"\x40\x03" + struct.pack("!HB", packet_id, code))

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        while True:
            head, size, shift = (await reader.readexactly(1))[0], 0, 0
            while True:
                byte = (await reader.readexactly(1))[0]
                size |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    break
            body = await reader.readexactly(size)
            if head == 0x10:
                writer.write(self.hello)
            elif head >> 4 == 3:
                self.publishes.append(bytes([head]) + body)
                topic_end = 2 + int.from_bytes(body[:2], "big")
                if head & 0x06 and self.code is not None:
                    self.confirm(int.from_bytes(body[topic_end : topic_end + 2], "big"), self.code)


async def test_all_that_travels_with_a_message_under_mqtt_5(broker: Broker) -> None:
    sent = Publication(
        topic=COMMAND,
        payload=b"\0\xff",
        response_topic="te/answer",
        correlation=b"\x00\x01",
        expiry_s=3600,
        content_type="application/octet-stream",
        user_properties=(("who", "me"), ("who", "you")),
    )
    async with Linked(broker.url(), client_id="a") as receiver, Linked(broker.url(), client_id="b") as sender:
        await receiver.next(Connected)
        await sender.next(Connected)
        await soon(sender.link.publish(sent))
        got = await receiver.next(Received)
        assert (got.topic, got.payload, got.qos) == (sent.topic, sent.payload, 1)
        assert (got.response_topic, got.correlation) == ("te/answer", b"\x00\x01")
        assert (got.content_type, got.user_properties) == (sent.content_type, sent.user_properties)
        assert got.expiry_s is not None
        assert 3590 <= got.expiry_s <= 3600


async def test_many_at_once_arrive_in_order(broker: Broker) -> None:
    async with Linked(broker.url(), client_id="a") as receiver, Linked(broker.url(), client_id="b") as sender:
        await receiver.next(Connected)
        await sender.next(Connected)
        bodies = [str(number).encode() for number in range(300)]
        await soon(asyncio.gather(*(sender.link.publish(Publication(topic=COMMAND, payload=body)) for body in bodies)))
        await until(lambda: len(receiver.received()) == len(bodies))
        assert [received.payload for received in receiver.received()] == bodies
        assert sender.link.state.in_flight == 0


async def test_no_more_are_on_their_way_than_the_broker_takes() -> None:
    broker = Confirming(connack(b"\x21\x00\x03"), code=None)  # receive maximum 3
    async with Server(broker) as server, Linked(server.url, polite=False, subscriptions=()) as linked:
        await linked.next(Connected)
        tasks = [asyncio.create_task(linked.link.publish(UP)) for _ in range(10)]
        await until(lambda: len(broker.publishes) == 3)
        tasks[0].cancel()  # the broker has not confirmed it: its place stays taken
        tasks[5].cancel()  # waits: never sent
        for packet_id in (1, 2, 3):
            broker.confirm(packet_id)
            await until(lambda expected=packet_id: len(broker.publishes) == 3 + expected)
        for packet_id in range(4, 10):
            await until(lambda expected=packet_id: len(broker.publishes) >= expected)
            broker.confirm(packet_id)
        results = await soon(asyncio.gather(*tasks, return_exceptions=True))
        assert [type(result) for result in results if result] == [asyncio.CancelledError] * 2
        assert len(broker.publishes) == 9


@pytest.mark.parametrize(
    ("code", "words", "temporary"),
    [(0x97, "quota", True), (0x87, "not authorized", False), (0x99, "payload format", False), (0x80, "error", True)],
)
async def test_a_message_that_the_broker_refuses(code: int, words: str, temporary: bool) -> None:
    async with Server(Confirming(code=code)) as server, Linked(server.url, polite=False, subscriptions=()) as linked:
        await linked.next(Connected)
        with pytest.raises(PublishRefusedError, match=words) as caught:
            await soon(linked.link.publish(UP))
        assert caught.value.temporary is temporary
        assert linked.link.state.connected


async def test_nobody_listening_is_no_refusal() -> None:
    async with Server(Confirming(code=0x10)) as server, Linked(server.url, polite=False, subscriptions=()) as linked:
        await linked.next(Connected)
        await soon(linked.link.publish(UP))


async def test_a_broker_s_largest_packet_is_known_before_anything_is_sent() -> None:
    broker = Confirming(connack(b"\x27" + struct.pack("!I", 500)))
    async with Server(broker) as server, Linked(server.url, polite=False, subscriptions=()) as linked:
        await linked.next(Connected)
        empty = Publication(topic="te/x")
        room = linked.link.room_bytes(empty)
        await soon(linked.link.publish(Publication(topic="te/x", payload=b"x" * room)))
        assert len(broker.publishes[0]) <= 500
        with pytest.raises(TooLargeError, match="500 bytes"):
            await linked.link.publish(Publication(topic="te/x", payload=b"x" * (room + 1)))
        assert linked.link.state.packet_limit_bytes == 500


async def test_a_broker_without_qos_1_and_retained_messages_gets_none() -> None:
    broker = Confirming(connack(b"\x24\x00", b"\x25\x00"))
    async with Server(broker) as server, Linked(server.url, polite=False, subscriptions=()) as linked:
        await linked.next(Connected)
        await soon(linked.link.publish(UP))
        await until(lambda: len(broker.publishes) == 1)
        assert broker.publishes[0][0] == 0x30


async def test_what_was_not_confirmed_when_the_line_broke_is_said_to_be_unknown() -> None:
    broker = Confirming(connack(b"\x21\x00\x02"), code=None)
    async with Server(broker) as server, Linked(server.url, polite=False, subscriptions=()) as linked:
        await linked.next(Connected)
        tasks = [asyncio.create_task(linked.link.publish(UP)) for _ in range(5)]
        await until(lambda: len(broker.publishes) == 2)
        broker.writers[-1].close()
        results = await soon(asyncio.gather(*tasks, return_exceptions=True))
        assert [type(result) for result in results] == [NotConnectedError] * 5
        await linked.next(Disconnected)
        await linked.next(Connected)
        broker.code = 0
        await soon(linked.link.publish(UP))
        assert len(broker.publishes) == 3, "nothing is sent again by itself"


async def test_a_stream_of_pieces_fills_no_memory_while_the_line_is_slow(broker: Broker) -> None:
    async with Relay(broker.port) as relay, Linked(relay.url, in_flight=4) as linked:
        await linked.next(Connected)
        broker.pause()
        piece = Publication(topic="te/stream", payload=b"x" * 200_000, qos=0)
        tasks = [asyncio.create_task(linked.link.publish(piece)) for _ in range(200)]
        await asyncio.sleep(0.3)
        assert linked.link.state.in_flight <= 4
        assert sum(not task.done() for task in tasks) > 4
        broker.go_on()
        await soon(asyncio.gather(*tasks))


async def test_a_daemon_that_reads_slowly_still_gets_its_confirmations(broker: Broker) -> None:
    """The broker has much more to say than is taken: reading stops, but not in front of a confirmation."""
    async with Linked(broker.url(), client_id="b", subscriptions=()) as sender:
        await sender.next(Connected)
        async with Linked(broker.url(), client_id="a", subscriptions=[COMMANDS]) as slow:
            await slow.next(Connected)
            slow._tasks[1].cancel()
            body = b"x" * 50_000
            flood = [sender.link.publish(Publication(topic=COMMAND, payload=body, qos=0)) for _ in range(200)]
            await soon(asyncio.gather(*flood))
            await until(lambda: slow.link._inbox.full)
            await soon(slow.link.publish(UP))
            assert slow.link.state.connected
