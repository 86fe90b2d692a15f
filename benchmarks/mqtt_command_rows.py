"""Commands: what becomes of them when the device is killed, how long a round trip takes. Needs mosquitto."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from agent.errors import NotConnectedError
from agent.fleet.link.address import Address
from agent.fleet.link.link import Link
from agent.fleet.link.messages import Connected, Publication, Received
from agent.fleet.link.settings import LinkSettings
from agent.fleet.topics import Topics
from benchmarks.mosquitto import Mosquitto, find_mosquitto, free_port
from benchmarks.mqtt_command_child import DEVICE
from benchmarks.mqtt_command_kills import Device, kill_often
from benchmarks.report import Row

KILLS = 200
ROUND_TRIPS = 400
BAR_MS = 8.0
PATIENCE_S = 30.0
_MS = 1000.0


def kills(*, quick: bool) -> Iterator[Row]:
    """Commands in flight, the agent killed with -9 at random moments; each delivered several times."""
    with _broker() as (url, folder):
        outcome = asyncio.run(kill_often(url, folder / "device", runs=KILLS // 10 if quick else KILLS))
    ended = sum(outcome.successful.values()) + sum(outcome.interrupted.values())
    said = ", ".join(
        f"{name} {outcome.successful[name]} done {outcome.interrupted[name]} interrupted"
        for name in sorted(outcome.successful | outcome.interrupted)
    )
    yield Row(
        what=f"{outcome.kills} kills -9 with commands in flight",
        bar="one final state each, one effect",
        measured=f"{ended} of {outcome.commands} commands ended once ({said}); {outcome.sent} messages;"
        f" {outcome.begun_again} begun again; {len(outcome.problems)} problems"
        + (f"; first: {outcome.problems[0]}" if outcome.problems else ""),
        passed=not outcome.problems and ended == outcome.commands,
        numbers={"problems": outcome.problems[:20], "commands": outcome.commands, "begun_again": outcome.begun_again},
    )


def round_trip(*, quick: bool) -> Iterator[Row]:
    """From PUBLISH of the command to its end at the sender, with an operation that does nothing: what commands over
    MQTT cost beyond the work itself. `rpc` is the same as a request."""
    count = ROUND_TRIPS // 10 if quick else ROUND_TRIPS
    with _broker() as (url, folder):
        for how in ("command", "rpc"):
            times = sorted(asyncio.run(_round_trips(url, folder / how, count, rpc=how == "rpc")))
            p50, p95 = times[count // 2] * _MS, times[count * 95 // 100] * _MS
            yield Row(
                what=f"{how}, {count} round trips one by one",
                bar=f"p50 <= {BAR_MS:g} ms above HTTP",
                measured=f"p50 {p50:.1f} ms, p95 {p95:.1f} ms in all",
                passed=p50 <= BAR_MS,
                numbers={"p50_ms": p50, "p95_ms": p95},
            )


async def _round_trips(url: str, folder: Path, count: int, *, rpc: bool) -> list[float]:
    topics = Topics("te", DEVICE)
    answers = "sender/answers"
    settings = LinkSettings(brokers=(Address.parse(url),), client_id="sender")
    will = Publication(topic="sender/health", payload=b"down")
    link = Link(settings, will=will, subscriptions=[answers, topics.health, topics.commands_filter])
    connected, up = asyncio.Event(), asyncio.Event()
    ended: dict[bytes | str, asyncio.Event] = {}

    async def listen() -> None:
        async for event in link.events():
            if isinstance(event, Connected):
                connected.set()
            elif isinstance(event, Received):
                link.acknowledge(event)
                if event.topic == topics.health and event.payload == b"up":
                    up.set()
                name = event.correlation if event.topic == answers else event.topic
                if name in ended and b'"status":"successful"' in event.payload:
                    ended[name].set()

    device = Device(url, folder)
    tasks = [asyncio.create_task(link.run()), asyncio.create_task(listen())]
    times = []
    try:
        async with asyncio.timeout(PATIENCE_S + count):
            await connected.wait()
            device.start()
            await up.wait()
            for number in range(count):
                publication, name = _note(topics, answers, str(number), rpc=rpc)
                ended[name] = asyncio.Event()
                started = time.perf_counter()
                await link.publish(publication)
                await ended[name].wait()
                times.append(time.perf_counter() - started)
                if not rpc:
                    await link.publish(Publication(topic=publication.topic, retain=True))
    finally:
        device.kill()
        await link.close()
        with suppress(NotConnectedError):
            await asyncio.gather(*tasks)
    return times


def _note(topics: Topics, answers: str, id: str, *, rpc: bool) -> tuple[Publication, bytes | str]:
    args: dict[str, Any] = {"id": id}
    if rpc:
        payload, name = json.dumps(args).encode(), id.encode()
        return Publication(
            topic=topics.request("note"), payload=payload, response_topic=answers, correlation=name
        ), name
    topic = topics.command("note", id)
    return Publication(topic=topic, payload=json.dumps({"status": "init", "args": args}).encode(), retain=True), topic


@contextmanager
def _broker() -> Iterator[tuple[str, Path]]:
    executable = find_mosquitto()
    if executable is None:
        raise RuntimeError("mosquitto is not installed")
    with TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        lines = [f"listener {port} 127.0.0.1", "allow_anonymous true"]
        broker = Mosquitto(executable, folder / "broker", [port], lines)
        broker.start()
        try:
            yield f"mqtt://127.0.0.1:{port}", folder
        finally:
            broker.kill()
