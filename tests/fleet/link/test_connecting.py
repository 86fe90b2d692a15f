"""Ways to a real broker, and what is said where there is none."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from agent.fleet.link.backoff import Pauses
from agent.fleet.link.messages import Connected, Disconnected, Publication, Received
from tests.fleet.broker import Broker, Listener, free_port
from tests.fleet.link.conftest import Papers
from tests.fleet.link.linked import COMMAND, DOWN, HEALTH, UP, Linked, settings, soon
from tests.fleet.link.relay import CONNACK_3, Relay, Server


@pytest.mark.parametrize("listener", ["mqtt", "mqtts", "ws", "wss"])
async def test_messages_go_both_ways(open_broker: Broker, papers: Papers, listener: Listener) -> None:
    big = bytes(range(256)) * 64
    async with Linked(open_broker.url(listener), ca_file=papers.authority.file, client_id=listener) as linked:
        connected = await linked.next(Connected)
        assert (connected.protocol, connected.refused) == ("5", ())
        await soon(linked.link.publish(UP))
        assert await asyncio.to_thread(open_broker.listen, HEALTH, 1) == [f"{HEALTH} up"]
        await asyncio.to_thread(open_broker.publish, COMMAND, big)
        assert (await linked.next(Received)).payload == big
        await soon(linked.link.publish(Publication(topic="te/big", payload=big, retain=True)))
        state = linked.link.state
        assert state.connected
        assert min(state.sent_bytes, state.received_bytes) > len(big)
        assert (state.sent_messages, state.received_messages) == (2, 1)
    assert await asyncio.to_thread(open_broker.listen, HEALTH, 1) == [f"{HEALTH} down"]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("mqtt-")]


async def test_a_device_with_a_certificate_is_let_in(strict_broker: Broker, papers: Papers) -> None:
    files = {"ca_file": papers.authority.file, "cert_file": papers.device.file, "key_file": papers.device.key}
    async with Linked(strict_broker.url("mqtts"), alpn=("mqtt",), **files) as linked:
        await linked.next(Connected)


@pytest.mark.parametrize(
    ("listener", "host", "files", "words"),
    [
        ("mqtts", None, {"ca_file": "stranger"}, "authority that this device does not know"),
        ("mqtts", None, {}, "authority that this device does not know"),
        ("mqtts", "127.0.0.1", {"ca_file": "ours"}, "not for 127.0.0.1"),
        ("mqtts", None, {"ca_file": "ours"}, "asks for a certificate of this device"),
        ("mqtts", None, {"ca_file": "ours", "device": "stranger"}, "does not know the authority of this device"),
        ("mqtts", None, {"ca_file": "ours", "key_file": "stranger"}, "does not belong to the key"),
        ("mqtts", None, {"ca_file": "nowhere"}, "No such file or directory"),
        ("mqtts", None, {"ca_file": "key"}, "holds no certificates"),
    ],
)
async def test_why_a_broker_is_not_reached_over_tls(
    strict_broker: Broker, papers: Papers, listener: Listener, host: str | None, files: dict[str, str], words: str
) -> None:
    places = {
        "ours": papers.authority.file,
        "stranger": papers.stranger.file,
        "nowhere": Path("/nowhere"),
        "key": papers.device.key,
    }
    given: dict[str, Any] = {"ca_file": places[files["ca_file"]]} if "ca_file" in files else {}
    if "device" in files:
        given |= {"cert_file": papers.strange_device.file, "key_file": papers.strange_device.key}
    if "key_file" in files:
        given |= {"cert_file": papers.device.file, "key_file": papers.strange_device.key}
    async with Linked(strict_broker.url(listener, host), **given) as linked:
        failed = await linked.next(Disconnected)
        assert words in failed.reason
        assert failed.retry_s >= 0.2, "half of the longest pause: nothing changes by itself"


async def test_a_broker_whose_certificate_has_expired(tmp_path: Path, papers: Papers) -> None:
    with Broker(tmp_path, listeners=("mqtts",), authority=papers.authority, certificate_days=-1) as broker:
        async with Linked(broker.url("mqtts"), ca_file=papers.authority.file) as linked:
            assert "has expired" in (await linked.next(Disconnected)).reason


async def test_why_a_broker_is_not_reached(open_broker: Broker, papers: Papers) -> None:
    port = open_broker.port
    cases = {
        f"mqtts://localhost:{port}": "does it speak TLS on this port",
        f"ws://127.0.0.1:{port}": "closed the connection during the WebSocket upgrade",
        f"mqtt://127.0.0.1:{free_port()}": "nothing listens on 127.0.0.1",
        "mqtt://broker.invalid": "the name broker.invalid is not known",
        f"mqtt://127.0.0.1:{open_broker.ports['mqtts']}": "closed the connection before it answered",
    }
    for url, words in cases.items():
        async with Linked(url, ca_file=papers.authority.file) as linked:
            assert words in (await linked.next(Disconnected)).reason, url


async def test_a_port_that_answers_nothing_is_given_up(open_broker: Broker) -> None:
    async def silence(*_: object) -> None:
        await asyncio.Event().wait()

    async with Server(silence) as server:
        for url in (server.url, server.url.replace("mqtt", "ws"), server.url.replace("mqtt", "mqtts")):
            async with Linked(url, connect_timeout_s=0.3) as linked:
                reason = (await linked.next(Disconnected)).reason
                assert "in time" in reason, url


async def test_a_wrong_password_is_said_and_the_broker_is_left_alone(tmp_path: Path) -> None:
    with Broker(tmp_path, passwords={"me": "right"}) as broker:
        slow = Pauses(first_s=0.1, cap_s=3600)
        async with Relay(broker.port) as relay:
            async with Linked(relay.url, username="me", password="wrong", pauses=slow) as linked:
                failed = await linked.next(Disconnected)
                assert "mqtt.password" in failed.reason
                assert "wrong" not in repr(linked.link.state)
                assert failed.retry_s >= 1800
                assert relay.clients == 1
            async with Linked(relay.url, username="me", password="right") as linked:
                await linked.next(Connected)


async def test_a_password_file_that_is_corrected_is_used_at_once(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("wrong\n")
    with Broker(tmp_path / "broker", passwords={"me": "right"}) as broker:
        slow = Pauses(first_s=0.1, cap_s=3600)
        async with Linked(broker.url(), username="me", password_file=file, pauses=slow) as linked:
            await linked.next(Disconnected)
            file.write_text("right\nand a second line\n")
            await linked.next(Connected)


async def test_the_brokers_are_tried_in_order(open_broker: Broker) -> None:
    away = [f"mqtt://127.0.0.1:{free_port()}" for _ in range(2)]
    async with Linked(*away, open_broker.url()) as linked:
        assert (await linked.next(Connected)).broker == open_broker.url()
        assert linked.link.state.attempts_failed == 2
    async with Linked(*away) as linked:
        reason = (await linked.next(Disconnected)).reason
        assert all(f"{url}: nothing listens" in reason for url in away)


async def test_a_broker_that_knows_only_the_old_version(open_broker: Broker) -> None:
    async with Relay(open_broker.port, old_broker=True) as relay:
        async with Linked(relay.url, client_id="old") as linked:
            assert (await linked.next(Connected)).protocol == "3.1.1"
            assert relay.clients == 2
            await soon(linked.link.publish(Publication(topic="te/x", payload=b"x", expiry_s=9, content_type="y/z")))
            await asyncio.to_thread(open_broker.publish, COMMAND, "{}")
            assert (await linked.next(Received)).payload == b"{}"
        async with Linked(relay.url, protocol="5") as linked:
            assert "does not know this version" in (await linked.next(Disconnected)).reason


async def test_an_old_broker_that_only_hangs_up_on_the_new_version() -> None:
    async def old(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"MQTT\x04" in await reader.read(1000):
            writer.write(CONNACK_3)
            await asyncio.Event().wait()

    async with Server(old) as server:
        async with Linked(server.url, polite=False, subscriptions=()) as linked:
            assert "before it answered" in (await linked.next(Disconnected)).reason
            assert (await linked.next(Connected)).protocol == "3.1.1"


async def test_closing_while_connecting_takes_no_time_and_leaves_no_thread() -> None:
    async def silence(*_: object) -> None:
        await asyncio.Event().wait()

    async with Server(silence) as server:
        for url in (server.url, server.url.replace("mqtt", "wss"), "mqtt://10.255.255.1"):
            async with Linked(url, connect_timeout_s=600) as linked:
                await asyncio.sleep(0.1)
                await soon(linked.link.close())
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("mqtt-")]


async def test_closing_before_running_ends_the_events() -> None:
    from agent.fleet.link.link import Link

    link = Link(settings("mqtt://h"), will=DOWN, subscriptions=())
    await link.close()
    assert [event async for event in link.events()] == []
