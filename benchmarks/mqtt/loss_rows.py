"""Telemetry that must not be lost: a broker that is killed, a network that is cut. Needs mosquitto."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from agent.fleet.link.address import Address
from agent.fleet.link.backoff import Pauses
from agent.fleet.link.link import Link
from agent.fleet.link.messages import Connected, Publication, Received
from agent.fleet.link.settings import LinkSettings
from agent.fleet.telemetry.clock import Clock
from agent.fleet.telemetry.outbox import Outbox
from agent.fleet.telemetry.raised import RaisedAlarms
from agent.fleet.telemetry.sample import Kind
from agent.fleet.telemetry.sender import Sender, SenderOptions
from agent.fleet.telemetry.state import OutboxLimits
from agent.fleet.topics import Topics
from benchmarks.mqtt.consumer import Consumer
from benchmarks.mqtt.mosquitto import Mosquitto, find_mosquitto, free_port
from benchmarks.mqtt.relay import Relay
from benchmarks.report import Row

KILLS: Final = 50
CUT_S: Final = 600.0
BEFORE_S: Final = 10.0
PATIENCE_S: Final = 240.0
"""Until everything has arrived: the longest pause between two attempts to connect, and more."""
CAP_BYTES: Final = 64 * 1024 * 1024
_TYPES: Final = ("board", "engine", "power")
_EVENT: Final = "model"
_TOPICS: Final = Topics("te", "bench")


@dataclass
class Told:
    """How it ended. `made` counts samples by type; `left` are types of which some were still waiting."""

    consumer: Consumer
    made: dict[str, int] = field(default_factory=dict)
    left: int = 0
    seconds: float = 0.0
    reconnects: int = 0
    waited: int = 0
    """Samples that waited in the outbox at most."""

    @property
    def lost(self) -> dict[str, int]:
        return {type: number - len(set(self.consumer.numbers.get(type, []))) for type, number in self.made.items()}

    @property
    def ordered(self) -> bool:
        return all(numbers == sorted(set(numbers)) for numbers in self.consumer.numbers.values())

    @property
    def whole(self) -> bool:
        return not any(self.lost.values()) and not self.consumer.gaps and self.ordered and self.left == 0

    def row(self, what: str, more: str = "") -> Row:
        consumer, lost = self.consumer, self.lost
        return Row(
            what=what,
            bar="none lost, none twice, in order",
            measured=f"{sum(self.made.values()):,} samples, {sum(lost.values())} lost, {len(consumer.gaps)} gaps,"
            f" {'in order' if self.ordered else 'OUT OF ORDER'}; {consumer.twice:,} came again and were known by seq;"
            f" {self.left} types left in the outbox; {more}{self.seconds:.0f} s",
            passed=self.whole,
            numbers={
                "made": self.made,
                "lost": lost,
                "gaps": consumer.gaps,
                "twice": consumer.twice,
                "waited": self.waited,
            },
        )


def kills(*, quick: bool) -> Iterator[Row]:
    """The broker is killed at random moments while three types and events are recorded, 400 samples a second."""
    count = KILLS // 10 if quick else KILLS
    dice = random.Random(7)
    with _broker() as (broker, folder, port):
        url = f"mqtt://127.0.0.1:{port}"

        async def trouble() -> None:
            for _ in range(count):
                await asyncio.sleep(dice.uniform(0.3, 1.2))
                await asyncio.to_thread(broker.kill)
                await asyncio.sleep(dice.uniform(0.0, 0.3))
                await asyncio.to_thread(broker.start)

        told = asyncio.run(_under(trouble, url, url, folder / "outbox.db", every_s=0.01))
    yield told.row(f"broker killed -9 {count} times under load")


def cut(*, quick: bool) -> Iterator[Row]:
    """The line between device and broker falls silent under load, with the pauses and the keepalive that a device has
    by default. 40 samples a second, so that what comes meanwhile fits the cap."""
    seconds = CUT_S / 10 if quick else CUT_S
    with _broker() as (_, folder, port):
        told = asyncio.run(_cut(port, folder / "outbox.db", seconds))
    more = f"{told.waited:,} waited, {told.reconnects} reconnects; "
    yield told.row(f"network cut for {seconds / 60:g} minutes under load", more)


async def _cut(port: int, path: Path, seconds: float) -> Told:
    async with Relay(port) as relay:

        async def trouble() -> None:
            await asyncio.sleep(BEFORE_S)
            relay.break_off()
            await asyncio.sleep(seconds)
            relay.join()

        url, direct = f"mqtt://127.0.0.1:{relay.port}", f"mqtt://127.0.0.1:{port}"
        return await _under(trouble, url, direct, path, every_s=0.1, pauses=Pauses())


async def _under(
    trouble: Callable[[], Awaitable[None]],
    device: str,
    consumer_url: str,
    path: Path,
    *,
    every_s: float,
    pauses: Pauses | None = None,
) -> Told:
    """Records while `trouble` runs, then waits until everything has been acknowledged by the consumer."""
    started, clock = time.perf_counter(), Clock.of_this_machine()
    outbox = Outbox(path, clock=clock, limits=OutboxLimits(flush_s=1, cap_bytes=CAP_BYTES))
    await outbox.open()
    link = _link(device, "bench", [_TOPICS.acknowledgement], pauses)
    options = SenderOptions(acknowledge=True, acknowledge_s=2)
    sender = Sender(link, outbox, _TOPICS, options, clock=clock, raised=RaisedAlarms(_TOPICS, []))
    filters = [f"{_TOPICS.service}/m/+", f"{_TOPICS.service}/e/+"]
    consumer = Consumer(_link(consumer_url, "consumer", filters), _TOPICS)
    told = Told(consumer, dict.fromkeys((*_TYPES, _EVENT), 0))

    async def listen() -> None:
        async for event in link.events():
            if isinstance(event, Received):
                sender.acknowledged(event.payload)
                link.acknowledge(event)
            elif isinstance(event, Connected):
                sender.connected()
            else:
                sender.disconnected()

    async def produce() -> None:
        while True:
            for type in _TYPES:
                outbox.record(Kind.MEASUREMENT, type, {"n": told.made[type]})
                told.made[type] += 1
            await outbox.keep(Kind.EVENT, _EVENT, {"n": told.made[_EVENT]})
            told.made[_EVENT] += 1
            told.waited = max(told.waited, outbox.state.samples)
            await asyncio.sleep(every_s)

    async with _running(link.run(), consumer.link.run(), listen(), consumer.run(), outbox.run(), sender.run()):
        while not consumer.link.state.connected:  # noqa: ASYNC110 - what comes before it has subscribed is not for it
            await asyncio.sleep(0.01)
        producer = asyncio.create_task(produce())
        await trouble()
        producer.cancel()
        await asyncio.gather(producer, return_exceptions=True)
        if (line := outbox.line(_EVENT)) is not None:
            told.made[_EVENT] = line.newest  # cancelled between the recording and the counting, perhaps
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while any(line.newest > line.confirmed for line in outbox.lines()):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        told.left = sum(line.newest > line.confirmed for line in outbox.lines())
        told.reconnects = link.state.reconnects
    await outbox.close()
    told.seconds = time.perf_counter() - started
    return told


@contextlib.asynccontextmanager
async def _running(*work: Awaitable[None]) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _link(url: str, client_id: str, subscriptions: Sequence[str], pauses: Pauses | None = None) -> Link:
    return Link(
        LinkSettings(
            brokers=(Address.parse(url),),
            client_id=client_id,
            pauses=pauses or Pauses(first_s=0.1, cap_s=0.5),
        ),
        will=Publication(topic=f"te/bench/{client_id}", payload=b"down"),
        subscriptions=subscriptions,
    )


@contextlib.contextmanager
def _broker() -> Iterator[tuple[Mosquitto, Path, int]]:
    """It runs, and saves each change at once: what it has confirmed survives its end."""
    executable = find_mosquitto()
    if executable is None:
        raise RuntimeError("mosquitto is not installed")
    with TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        lines = ["persistence true", "autosave_on_changes true", "autosave_interval 1", f"listener {port} 127.0.0.1"]
        broker = Mosquitto(executable, folder / "broker", [port], [*lines, "allow_anonymous true"])
        broker.start()
        try:
            yield broker, folder, port
        finally:
            broker.kill()
