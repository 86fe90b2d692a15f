"""Commands: what becomes of them when the device is killed, how long a round trip takes. Needs mosquitto."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import aiohttp

from agent.fleet.link.address import Address
from agent.fleet.link.link import Link
from agent.fleet.link.messages import Publication, Received
from agent.fleet.link.settings import LinkSettings
from agent.fleet.topics import Topics
from benchmarks.daemon import Daemon
from benchmarks.models import shapes
from benchmarks.mqtt.command_child import DEVICE
from benchmarks.mqtt.command_kills import kill_often
from benchmarks.mqtt.mosquitto import Mosquitto, find_mosquitto, free_port
from benchmarks.report import Row

KILLS = 200
ROUND_TRIPS = 400
BAR_MS = 8.0
PATIENCE_S = 30.0
_MODEL = "tiny"
_ASKED = {"prompt": "Once", "max_tokens": 1, "temperature": 0}
_ANSWERS = "sender/answers"
_SYNC = "disk"
_PAGES_BYTES = 5 * 4096
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
    """The same completion of one token over HTTP, as a request and as a command, in turn, of a real daemon."""
    count = ROUND_TRIPS // 10 if quick else ROUND_TRIPS
    for lines, name in (((), "mosquitto as it is"), (("set_tcp_nodelay true",), "with set_tcp_nodelay")):
        with _broker(*lines) as (url, folder):
            times = _with_daemon(url, shapes.ensure("tiny", "F32", folder), folder / "synced", count)
        p50 = {how: median(found) * _MS for how, found in times.items()}
        sync_ms = p50.pop(_SYNC)
        above_ms = max(p50["rpc"], p50["command"]) - p50["http"]
        yield Row(
            what=f"round trips, {name}",
            bar=f"p50 <= {BAR_MS:g} ms above HTTP",
            measured=", ".join(f"{how} {found:.1f} ms" for how, found in p50.items())
            + f": {above_ms:.1f} ms above, two waits for the disk of {sync_ms:.1f} ms in it",
            passed=above_ms <= BAR_MS,
            numbers={"p50_ms": p50, "disk_ms": sync_ms},
        )


def _with_daemon(url: str, model: Path, synced: Path, count: int) -> dict[str, list[float]]:
    daemon = Daemon(models={_MODEL: {"context_tokens": 8192, "slots": 2, "keep_alive_s": -1}})
    with daemon.config.open("a") as file:
        file.write(f'[mqtt]\nurl = "{url}"\ndevice = "{DEVICE}"\n[mqtt.operations.generate]\nper_hour = 100_000\n')
    daemon.import_model(model, _MODEL)
    with daemon:
        daemon.wait_until_loaded(_MODEL)
        return asyncio.run(_round_trips(url, f"http://127.0.0.1:{daemon.port}", synced, count))


async def _round_trips(url: str, http: str, synced: Path, count: int) -> dict[str, list[float]]:
    topics = Topics("te", DEVICE)
    times: dict[str, list[float]] = {"http": [], "rpc": [], "command": [], _SYNC: []}
    with synced.open("wb") as file:
        os.write(file.fileno(), bytes(_PAGES_BYTES))
    async with Sender(url, topics) as sender, aiohttp.ClientSession() as session:
        for number in range(count):
            for how, found in times.items():
                started = time.perf_counter()
                if how == "http":
                    body = {"model": _MODEL, **_ASKED}
                    async with session.post(f"{http}/v1/completions", json=body) as answer:
                        answer.raise_for_status()
                        await answer.read()
                elif how == _SYNC:
                    _sync(synced)
                else:
                    await sender.ask(f"{how}-{number}", rpc=how == "rpc")
                found.append(time.perf_counter() - started)
    return times


def _sync(path: Path) -> None:
    """As the journal does when a command comes, and when it ends: some pages, and they are on the disk."""
    fd = os.open(path, os.O_RDWR)
    try:
        os.pwrite(fd, os.urandom(_PAGES_BYTES), 0)
        os.fdatasync(fd)
    finally:
        os.close(fd)


class Sender:
    """Another client of the broker, which asks for one thing at a time."""

    def __init__(self, url: str, topics: Topics) -> None:
        self._topics = topics
        will = Publication(topic="sender/health", payload=b"down")
        subscriptions = [_ANSWERS, topics.health, topics.commands_filter]
        settings = LinkSettings(brokers=(Address.parse(url),), client_id="sender")
        self._link = Link(settings, will=will, subscriptions=subscriptions)
        self._up = asyncio.Event()
        self._ended = asyncio.Event()
        self._id = ""
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Sender:
        self._tasks = [asyncio.create_task(self._link.run()), asyncio.create_task(self._listen())]
        async with asyncio.timeout(PATIENCE_S):
            await self._up.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._link.close()
        await asyncio.gather(*self._tasks)

    async def ask(self, id: str, *, rpc: bool) -> None:
        """Returns when it is done."""
        self._id = id
        self._ended.clear()
        args = {**_ASKED, "model": _MODEL, "stream": False}
        topic = self._topics.command("generate", id)
        publication = Publication(
            topic=topic, payload=json.dumps({"status": "init", "args": args}).encode(), retain=True
        )
        if rpc:
            publication = Publication(
                topic=self._topics.request("generate"),
                payload=json.dumps(args).encode(),
                response_topic=_ANSWERS,
                correlation=id.encode(),
            )
        async with asyncio.timeout(PATIENCE_S):
            await self._link.publish(publication)
            await self._ended.wait()

    async def _listen(self) -> None:
        async for event in self._link.events():
            if not isinstance(event, Received):
                continue
            self._link.acknowledge(event)
            state = json.loads(event.payload or b"{}").get("status")
            if event.topic == self._topics.health and state == "up":
                self._up.set()
            ours = event.correlation == self._id.encode() or event.topic.endswith(f"/{self._id}")
            if ours and state in ("successful", "failed"):
                if state == "failed":
                    raise RuntimeError(event.payload.decode())
                self._ended.set()


@contextmanager
def _broker(*more: str) -> Iterator[tuple[str, Path]]:
    executable = find_mosquitto()
    if executable is None:
        raise RuntimeError("mosquitto is not installed")
    with TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        lines = [*more, f"listener {port} 127.0.0.1", "allow_anonymous true"]
        broker = Mosquitto(executable, folder / "broker", [port], lines)
        broker.start()
        try:
            yield f"mqtt://127.0.0.1:{port}", folder
        finally:
            broker.kill()
