"""The whole of it over a real broker: a consumer that looks at `seq`, and a broker that is killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent.fleet.link.link import Link
from agent.fleet.link.messages import Connected, Publication, Received
from agent.fleet.telemetry.deadband import flat
from agent.fleet.telemetry.sample import Values
from agent.fleet.telemetry.source import Look, Reading
from agent.fleet.telemetry.telemetry import Telemetry
from agent.settings.mqtt_telemetry import telemetry_settings
from tests.fleet.broker import Broker
from tests.fleet.link.linked import settings as link_settings
from tests.fleet.telemetry.device import TOPICS, until
from tests.fleet.telemetry.test_settings import Heat


class Counting:
    """A board on which something changes at each look."""

    type = "board"
    temperature_celsius = 50.0

    def __init__(self) -> None:
        self.n = 0
        self.silent = False

    async def read(self) -> Values:
        if self.silent:
            return {}
        self.n += 1
        return {"n": self.n}

    async def look(self) -> Look:
        return Look({"temperature_celsius": Reading(self.temperature_celsius)})


class Consumer:
    """Acknowledges what it has, and counts what comes twice or out of order."""

    def __init__(self, url: str, *, acknowledges: bool) -> None:
        down = Publication(topic="te/consumer", payload=b"")
        self._link = Link(link_settings(url, client_id="consumer"), will=down, subscriptions=[f"{TOPICS.service}/+/+"])
        self._acknowledges = acknowledges
        self.samples: dict[str, list[dict[str, Any]]] = {}
        self.next: dict[tuple[str, str], int] = {}
        self.alarms: dict[str, Any] = {}
        self.faults: list[str] = []
        self.ready = asyncio.Event()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._link.run())
            async for event in self._link.events():
                if isinstance(event, Connected):
                    self.ready.set()
                if isinstance(event, Received):
                    kind, type = event.topic.removeprefix(f"{TOPICS.service}/").split("/")
                    if kind == "a":
                        self.alarms[type] = json.loads(event.payload) if event.payload else None
                    elif kind in ("m", "e"):
                        await self._take(type, json.loads(event.payload))
                    self._link.acknowledge(event)

    async def _take(self, type: str, message: dict[str, Any]) -> None:
        key, first, samples = (type, message["log"]), message["seq"], message["samples"]
        expected = self.next.get(key, first)
        if first > expected + message.get("missing", 0):
            self.faults.append(f"{type}: {first} after {expected}")
        fresh = samples[max(0, expected - first) :]
        self.samples.setdefault(type, []).extend(fresh)
        self.next[key] = max(expected, first + len(samples))
        if self._acknowledges:
            payload = json.dumps({"type": type, "seq": self.next[key] - 1, "log": message["log"]}).encode()
            with contextlib.suppress(Exception):  # the broker is gone: what is not acknowledged comes again
                await self._link.publish(Publication(topic=TOPICS.acknowledgement, payload=payload))


@asynccontextmanager
async def running(path: Path, url: str, source: Counting, **table: Any) -> AsyncIterator[Telemetry]:
    """A device that looks at its board each 10 ms."""
    link = Link(
        link_settings(url),
        will=Publication(topic=TOPICS.health, payload=b"down", retain=True),
        subscriptions=[TOPICS.acknowledgement],
    )
    made = telemetry_settings({"flush_s": 1, **table}, where="test")
    made = replace(made, watch_s=0.05, intervals_s={"board": 0.01})  # no file may ask for so much
    telemetry = Telemetry(link, TOPICS, made, sources=[source], heat=Heat(), path=path)

    async def listen() -> None:
        async for event in link.events():
            telemetry.handle(event)
            if isinstance(event, Received):
                link.acknowledge(event)

    tasks = [asyncio.create_task(work) for work in (link.run(), listen(), telemetry.run())]
    try:
        yield telemetry
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await telemetry.close()


async def test_measurements_events_and_alarms_reach_a_consumer(broker: Broker, tmp_path: Path) -> None:
    consumer = Consumer(broker.url(), acknowledges=False)
    task = asyncio.create_task(consumer.run())
    await consumer.ready.wait()
    source = Counting()
    source.temperature_celsius = 90.0
    alarms = {"too_hot": {"raise_s": 0, "clear_s": 0}}
    async with running(tmp_path / "o.db", broker.url(), source, alarms=alarms) as telemetry:
        await telemetry.event("daemon", "It has started.", {"version": "1"})
        await until(lambda: len(consumer.samples.get("board", [])) >= 20 and consumer.alarms.get("too_hot"))
        assert consumer.samples["daemon"][0]["text"] == "It has started."
        assert "90 °C" in consumer.alarms["too_hot"]["text"]
        assert telemetry.state.raised == ("too_hot",)
        source.temperature_celsius = 50.0
        await until(lambda: consumer.alarms.get("too_hot", 0) is None)
        await until(lambda: [one["status"] for one in consumer.samples["alarm"]] == ["raised", "cleared"])
    assert [one["n"] for one in consumer.samples["board"]] == list(range(1, len(consumer.samples["board"]) + 1))
    assert consumer.faults == []
    task.cancel()


async def test_a_broker_that_is_killed_again_and_again_costs_nothing(broker: Broker, tmp_path: Path) -> None:
    consumer = Consumer(broker.url(), acknowledges=True)
    task = asyncio.create_task(consumer.run())
    await consumer.ready.wait()
    source = Counting()
    async with running(tmp_path / "o.db", broker.url(), source, acknowledge=True, acknowledge_s=1) as telemetry:
        for _ in range(4):
            count = len(consumer.samples.get("board", []))
            await until(lambda count=count: len(consumer.samples.get("board", [])) > count + 10)  # type: ignore[misc]
            await asyncio.to_thread(broker.kill)
            await asyncio.to_thread(broker.start)
        source.silent = True
        await until(lambda: telemetry.state.outbox.memory_samples == 0 and len(consumer.samples["board"]) == source.n)
    assert consumer.faults == []
    assert [one["n"] for one in consumer.samples["board"]] == list(range(1, source.n + 1))
    task.cancel()


async def test_without_a_broker_everything_is_kept_for_the_next_start(broker: Broker, tmp_path: Path) -> None:
    source, path = Counting(), tmp_path / "o.db"
    await asyncio.to_thread(broker.stop)
    async with running(path, broker.url(), source) as telemetry:
        await until(lambda: source.n >= 20)
        await telemetry.event("daemon", "alone")
    await asyncio.to_thread(broker.start)
    consumer = Consumer(broker.url(), acknowledges=False)
    task = asyncio.create_task(consumer.run())
    await consumer.ready.wait()
    async with running(path, broker.url(), source):
        await until(lambda: len(consumer.samples.get("board", [])) >= 30 and bool(consumer.samples.get("daemon")))
    assert [one["n"] for one in consumer.samples["board"]] == list(range(1, len(consumer.samples["board"]) + 1))
    assert flat(consumer.samples["daemon"][0])["text"] == "alone"
    assert consumer.faults == []
    task.cancel()
