"""Commands as people send them: with mosquitto's own clients, over a real broker."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import pytest

from agent.fleet.commands.desk import CommandDesk
from agent.fleet.commands.journal import Journal
from agent.fleet.commands.permissions import Permission, Permissions
from agent.fleet.link.link import Link
from agent.fleet.link.messages import Connected, Received
from tests.fleet.broker import Broker
from tests.fleet.commands.scripted import TOPICS, NoteOperation
from tests.fleet.link.linked import DOWN, settings, until

P = TOPICS.service


@asynccontextmanager
async def device(
    broker: Broker, path: Path, note: NoteOperation, *, protocol: Literal["5", "3.1.1"] = "5", **more: Any
) -> AsyncIterator[Link]:
    """Link, journal and desk, as the daemon has them."""
    desk: CommandDesk
    filters = [TOPICS.commands_filter, TOPICS.requests_filter]
    link = Link(settings(broker.url(), protocol=protocol, **more), will=DOWN, subscriptions=filters)
    permission = Permission(allow=True, concurrency=2, per_hour=100_000)
    desk = CommandDesk(link, Journal(path), [note], Permissions({"note": permission}), TOPICS)

    async def listen() -> None:
        async for event in link.events():
            if isinstance(event, Connected):
                desk.connected()
            elif isinstance(event, Received):
                await desk.handle(event)

    tasks = [asyncio.create_task(work) for work in (link.run(), desk.run(), listen())]
    try:
        await until(lambda: link.state.connected)
        yield link
    finally:
        tasks[1].cancel()
        await asyncio.wait([tasks[1]])
        await link.close()
        await asyncio.gather(*tasks, return_exceptions=True)


def messages(lines: list[str]) -> list[tuple[str, Any]]:
    """Topic and decoded payload of each line."""
    return [(topic, json.loads(text) if text else None) for topic, _, text in (line.partition(" ") for line in lines)]


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_a_command_with_its_pieces(broker: Broker, tmp_path: Path, protocol: Literal["5", "3.1.1"]) -> None:
    listening = broker.listening(f"{P}/cmd/#", 5)
    async with device(broker, tmp_path / "j", NoteOperation(), protocol=protocol):
        payload = {"status": "init", "args": {"text": "grüße", "pieces": 2}, "x": 1}
        topic = TOPICS.command("note", "1")
        await asyncio.to_thread(broker.publish, topic, json.dumps(payload), retain=True)
        lines = await asyncio.to_thread(lambda: listening.communicate()[0].splitlines())
    found = messages(lines)
    assert [state["status"] for at, state in found if at == topic] == ["init", "executing", "successful"]
    assert found[-1] == (topic, {**payload, "status": "successful", "result": {"noted": "grüße"}})
    assert [state for at, state in found if at.endswith("/stream")] == [
        {"n": 0, "text": "piece 0"},
        {"n": 1, "text": "piece 1"},
    ]
    assert messages(broker.listen(topic, 1)) == [found[-1]]  # retained


async def test_mosquitto_rr_gets_its_answer(broker: Broker, tmp_path: Path) -> None:
    if shutil.which("mosquitto_rr") is None:
        pytest.skip("mosquitto_rr is not installed")
    async with device(broker, tmp_path / "j", NoteOperation()):
        command = ["mosquitto_rr", "-p", str(broker.port), "-V", "5", "-W", "10", "-q", "1"]
        command += ["-t", TOPICS.request("note"), "-e", "answers/1", "-m", '{"text": "a"}']
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
    assert json.loads(done.stdout) == {"status": "successful", "result": {"noted": "a"}}


async def test_a_command_that_was_sent_while_the_device_was_away(broker: Broker, tmp_path: Path) -> None:
    async with device(broker, tmp_path / "j", NoteOperation()):
        pass
    await asyncio.to_thread(broker.publish, TOPICS.command("note", "1"), '{"status": "init", "args": {"text": "a"}}')
    note = NoteOperation()
    async with device(broker, tmp_path / "j", note):
        await until(lambda: note.done == ["a"])
    async with device(broker, tmp_path / "j", note):
        await asyncio.sleep(0.2)
    assert note.done == ["a"]


async def test_message_expiry_is_the_brokers(broker: Broker, tmp_path: Path) -> None:
    note = NoteOperation()
    async with device(broker, tmp_path / "j", note):
        for number in range(3):  # two run, one waits for longer than it may
            more = ("-D", "publish", "message-expiry-interval", "1") if number == 2 else ()
            payload = json.dumps({"status": "init", "args": {"text": str(number), "wait": "gate"}})
            await asyncio.to_thread(broker.publish, TOPICS.command("note", str(number)), payload, *more)
            await until(lambda number=number: len(note.begun) == min(2, number + 1))
        lines = await asyncio.to_thread(broker.listen, TOPICS.command("note", "2"), 1)
        assert messages(lines)[0][1]["code"] == "expired"
        note.release("gate")
        await until(lambda: note.done == ["0", "1"])


async def test_clearing_cancels_and_leaves_nothing_behind(broker: Broker, tmp_path: Path) -> None:
    note = NoteOperation()
    topic = TOPICS.command("note", "1")
    async with device(broker, tmp_path / "j", note):
        payload = '{"status": "init", "args": {"text": "a", "wait": "for ever"}}'
        await asyncio.to_thread(broker.publish, topic, payload, retain=True)
        await until(lambda: note.begun)
        listening = broker.listening(topic, 3)
        await asyncio.sleep(0.3)
        await asyncio.to_thread(broker.publish, topic, retain=True)
        await until(lambda: note.cancelled == ["a"])
        lines = await asyncio.to_thread(lambda: listening.communicate(timeout=30)[0].splitlines())
    assert messages(lines)[-1][1]["code"] == "cancelled"
    assert await asyncio.to_thread(broker.listen, f"{P}/cmd/#", 1, timeout_s=1) == []


async def test_the_broker_is_killed_while_it_runs(broker: Broker, tmp_path: Path) -> None:
    note = NoteOperation()
    topic = TOPICS.command("note", "1")
    async with device(broker, tmp_path / "j", note) as link:
        payload = '{"status": "init", "args": {"text": "a", "wait": "gate"}}'
        await asyncio.to_thread(broker.publish, topic, payload, retain=True)
        await until(lambda: note.begun)
        broker.kill()
        await until(lambda: not link.state.connected)
        note.release("gate")
        await until(lambda: note.done)
        broker.start()
        await until(lambda: link.state.connected)
        lines = await asyncio.to_thread(broker.listen, topic, 4, timeout_s=2)
    assert messages(lines)[-1][1]["status"] == "successful"
    assert note.begun == ["a"]


async def test_a_result_larger_than_the_broker_takes(tmp_path: Path) -> None:
    with Broker(tmp_path / "small", lines=["max_packet_size 3000"]) as broker:
        listening = broker.listening(f"{P}/cmd/+/+/result/+", 4)
        async with device(broker, tmp_path / "j", NoteOperation()):
            topic = TOPICS.command("note", "1")
            payload = '{"status": "init", "args": {"result_bytes": 9000}}'
            await asyncio.to_thread(broker.publish, topic, payload, retain=True)
            lines = await asyncio.to_thread(lambda: listening.communicate()[0].splitlines())
            await until(lambda: b"result_pieces" in "".join(broker.listen(topic, 1)).encode())
            end = messages(broker.listen(topic, 1))[0][1]
    pieces = dict(line.split(" ", 1) for line in lines)
    whole = "".join(pieces[f"{end['result_pieces']['topic']}/{number}"] for number in range(4)).encode()
    assert hashlib.sha256(whole).hexdigest() == end["result_pieces"]["sha256"]
    assert len(json.loads(whole)["long"]) == 9000


async def test_a_flood_does_not_stop_it(broker: Broker, tmp_path: Path) -> None:
    note = NoteOperation()
    async with device(broker, tmp_path / "j", note):
        command = ["mosquitto_pub", "-p", str(broker.port), "-V", "5", "-q", "0", "-l"]
        command += ["-t", TOPICS.request("note")]
        garbage = b"{\xff\n" * 3000 + b'{"text": "x"}\n'
        await asyncio.to_thread(subprocess.run, command, input=garbage, check=True)
        await until(lambda: note.done == ["x"])
