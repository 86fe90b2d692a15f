"""What a device has to expect: brokers that die, lines that go dead, messages that come while it is away."""

from __future__ import annotations

import asyncio
import itertools
import threading

import pytest

from agent.errors import NotConnectedError
from agent.fleet.link.backoff import Pauses
from agent.fleet.link.messages import Connected, Disconnected, Publication, Received
from tests.fleet.broker import Broker
from tests.fleet.link.linked import COMMAND, COMMANDS, HEALTH, UP, Linked, soon, until
from tests.fleet.link.relay import Relay


async def publish(broker: Broker, topic: str, payload: str, *, qos: int = 1, retain: bool = False) -> None:
    await asyncio.to_thread(broker.publish, topic, payload, qos=qos, retain=retain)


async def test_a_broker_that_is_killed_and_comes_back(broker: Broker) -> None:
    async with Linked(broker.url()) as linked:
        assert not (await linked.next(Connected)).session_present
        for round in range(3):
            broker.kill()
            lost = await linked.next(Disconnected)
            assert "closed" in lost.reason or "reset" in lost.reason
            with pytest.raises(NotConnectedError):
                await linked.link.publish(UP)
            broker.start()
            assert (await linked.next(Connected)).session_present
            await publish(broker, COMMAND, str(round))
            assert (await linked.next(Received)).payload == str(round).encode()
        assert linked.link.state.reconnects == 3


async def test_a_broker_that_is_killed_under_load_is_used_on_as_before(broker: Broker) -> None:
    """It may lose what it had confirmed in its last moment; each message is confirmed or said to be unknown."""
    async with Linked(broker.url(), client_id="consumer") as consumer, Linked(broker.url(), in_flight=8) as linked:
        await consumer.next(Connected)
        await linked.next(Connected)
        confirmed: list[bytes] = []

        async def send(first: int) -> None:
            for number in range(first, 1000, 20):
                body = str(number).encode()
                while not over.is_set():
                    try:
                        await linked.link.publish(Publication(topic=COMMAND, payload=body))
                    except NotConnectedError:
                        await asyncio.sleep(0.02)
                    else:
                        confirmed.append(body)
                        break

        over = asyncio.Event()
        senders = [asyncio.create_task(send(first)) for first in range(20)]
        for _ in range(3):
            enough = len(confirmed) + 60
            await until(lambda enough=enough: len(confirmed) >= enough)
            broker.kill()
            await linked.next(Disconnected)
            broker.start()
            await linked.next(Connected)
        before = len(confirmed)
        await until(lambda: len(confirmed) >= before + 60)
        over.set()
        await soon(asyncio.gather(*senders))
        assert len(set(confirmed)) == len(confirmed)
        await until(lambda: set(confirmed[before:]) <= {received.payload for received in consumer.received()})
        assert linked.link.state.in_flight == 0


async def test_what_comes_while_the_device_is_away_waits_for_it(broker: Broker) -> None:
    async with Linked(broker.url()) as linked:
        await linked.next(Connected)
    await publish(broker, COMMAND, "while away")
    async with Linked(broker.url()) as linked:
        assert (await linked.next(Connected)).session_present
        received = await linked.next(Received)
        assert (received.payload, received.qos, received.duplicate) == (b"while away", 1, False)


async def test_a_session_of_no_length_is_forgotten(broker: Broker) -> None:
    async with Linked(broker.url(), session_expiry_s=0) as linked:
        await linked.next(Connected)
    await publish(broker, COMMAND, "while away")
    async with Linked(broker.url(), session_expiry_s=0) as linked:
        assert not (await linked.next(Connected)).session_present
        await publish(broker, COMMAND, "while here")
        assert (await linked.next(Received)).payload == b"while here"


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_what_was_not_acknowledged_comes_again(broker: Broker, protocol: str) -> None:
    crashed = Linked(broker.url(), acknowledges=False, protocol=protocol)
    async with crashed:
        await crashed.next(Connected)
        await publish(broker, COMMAND, "first")
        await publish(broker, COMMAND, "second")
        crashed.link.acknowledge(await crashed.next(Received, lambda received: received.payload == b"first"))
        unacknowledged = await crashed.next(Received)
        await soon(crashed.link.publish(UP))  # behind the acknowledgement on the same line
        await crashed.crash()
    assert await asyncio.to_thread(broker.listen, HEALTH, 1) == [f"{HEALTH} down"], "the last will"
    async with Linked(broker.url(), protocol=protocol) as linked:
        again = await linked.next(Received)
        assert (again.payload, again.duplicate) == (b"second", True)
        linked.link.acknowledge(unacknowledged)  # of the connection that is gone: means nothing
        await publish(broker, COMMAND, "third")
        assert (await linked.next(Received)).payload == b"third"
    assert [received.payload for received in crashed.received()] == [b"first", b"second"]


async def test_retained_messages_come_at_each_connection_and_our_own_do_not_come_back_at_once(broker: Broker) -> None:
    """At the next connection mosquitto brings retained ones of our own, too, where it has saved them."""
    await publish(broker, COMMAND, "desired", retain=True)
    async with Linked(broker.url()) as linked:
        first = await linked.next(Received)
        assert (first.payload, first.retain) == (b"desired", True)
        await soon(linked.link.publish(Publication(topic=f"{COMMAND}2", payload=b"state", retain=True)))
        await publish(broker, COMMAND, "then")
        assert (await linked.next(Received)).payload == b"then"
        broker.kill()
        await linked.next(Disconnected)
        broker.start()
        await linked.next(Connected)
        await linked.next(Received, lambda received: received.payload == b"desired" and received.retain)


async def test_a_line_that_goes_dead_without_a_word_is_noticed(broker: Broker) -> None:
    async with Relay(broker.port) as relay:
        async with Linked(relay.url, keepalive_s=1, connect_timeout_s=2) as linked:
            await linked.next(Connected)
            relay.cut = True
            on_its_way = asyncio.create_task(linked.link.publish(UP))
            lost = await linked.next(Disconnected)
            assert "nothing was heard from the broker" in lost.reason
            with pytest.raises(NotConnectedError, match="did not confirm"):
                await soon(on_its_way)
            assert "in time" in (await linked.next(Disconnected)).reason
            relay.cut = False
            await linked.next(Connected)
            await soon(linked.link.publish(UP))


async def test_a_quiet_line_stays_up(broker: Broker) -> None:
    async with Linked(broker.url(), keepalive_s=1) as linked:
        await linked.next(Connected)
        await asyncio.sleep(3.5)  # mosquitto hangs up after 1.5 s of silence
        assert linked.link.state.connected
        assert linked.link.state.reconnects == 0


async def test_a_broker_that_takes_connections_and_drops_them_is_asked_less_and_less(broker: Broker) -> None:
    async with Linked(broker.url(), pauses=Pauses(first_s=0.01, cap_s=3600)) as linked:
        linked.link._dice = lambda: 1.0
        pauses = []
        for _ in range(4):
            await linked.next(Connected)
            broker.kill()
            pauses.append((await linked.next(Disconnected)).retry_s)
            broker.start()
    assert all(later >= 2 * earlier for earlier, later in itertools.pairwise(pauses))


async def test_the_will_is_published_when_the_line_breaks_and_the_farewell_when_it_is_closed(broker: Broker) -> None:
    async with Relay(broker.port) as relay:
        linked = Linked(relay.url)
        async with linked:
            await linked.next(Connected)
            await soon(linked.link.publish(UP))
            await linked.crash()
        assert await asyncio.to_thread(broker.listen, HEALTH, 1) == [f"{HEALTH} down"]
        async with Linked(relay.url) as linked:
            await linked.next(Connected)
            await soon(linked.link.close(Publication(topic=HEALTH, payload=b"closed by hand", retain=True)))
        assert await asyncio.to_thread(broker.listen, HEALTH, 1) == [f"{HEALTH} closed by hand"]
        assert relay.sent.count(b"\xe0\x00") >= 1


async def test_topics_of_an_earlier_configuration_are_not_delivered(broker: Broker) -> None:
    async with Linked(broker.url(), subscriptions=["old/#"]) as linked:
        await linked.next(Connected)
    await publish(broker, "old/topic", "x")
    async with Linked(broker.url(), subscriptions=[COMMANDS]) as linked:
        await linked.next(Connected)
        await publish(broker, COMMAND, "new")
        assert (await linked.next(Received)).payload == b"new"
        assert [received.payload for received in linked.received()] == [b"new"]
        assert linked.link.state.ignored_messages == 1


async def test_nothing_is_left_of_a_link_that_was_cancelled(broker: Broker) -> None:
    linked = Linked(broker.url())
    async with linked:
        await linked.next(Connected)
        await linked.crash()
    await until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("mqtt-")])
