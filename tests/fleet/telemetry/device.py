"""A device whose clocks the test owns, and a link that does as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from agent.errors import EdgeAgentError, NotConnectedError
from agent.fleet.link.messages import Publication
from agent.fleet.telemetry.clock import Clock
from agent.fleet.telemetry.outbox import Outbox
from agent.fleet.telemetry.raised import RaisedAlarms
from agent.fleet.telemetry.sample import Kind
from agent.fleet.telemetry.sender import Sender, SenderOptions
from agent.fleet.telemetry.state import OutboxLimits
from agent.fleet.topics import Topics

TOPICS = Topics("te", "d")
PATIENCE_S = 30.0


@dataclass
class Time:
    """`clock.wall` and `clock.up` say what is set here."""

    up_s: float = 1000.0
    wall_s: float = 1_700_000_000.0
    boot: str = "boot-1"

    @property
    def clock(self) -> Clock:
        return Clock(boot=self.boot, wall=lambda: self.wall_s, up=lambda: self.up_s)

    def pass_s(self, seconds: float) -> None:
        self.up_s += seconds
        self.wall_s += seconds


@dataclass
class ScriptedLink:
    """Takes everything, but for what `answers` holds: the next answers, None or an error. `hold` keeps a message on
    its way until `release`."""

    room: int = 100_000
    up: bool = True
    answers: list[EdgeAgentError | None] = field(default_factory=list)
    taken: list[Publication] = field(default_factory=list)
    tried: list[Publication] = field(default_factory=list)
    hold: bool = False
    _held: list[asyncio.Future[None]] = field(default_factory=list)

    async def publish(self, publication: Publication) -> None:
        if not self.up:
            raise NotConnectedError("down")
        self.tried.append(publication)
        if self.hold:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._held.append(future)
            await future
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer
        self.taken.append(publication)

    def room_bytes(self, publication: Publication) -> int:
        return self.room if self.up else 0

    def release(self) -> None:
        for future in self._held:
            future.set_result(None)
        self._held.clear()
        self.hold = False

    def of(self, topic: str) -> list[dict[str, Any]]:
        """What was taken on a topic."""
        return [msgspec.json.decode(one.payload) for one in self.taken if one.topic == topic]

    def seqs(self, type: str = "board") -> list[int]:
        """The numbers of the samples that were taken, in order, also those that came twice."""
        return [
            message["seq"] + index
            for message in self.of(TOPICS.measurement(type))
            for index in range(len(message["samples"]))
        ]


class Device:
    """An outbox and its sender, at work."""

    def __init__(self, outbox: Outbox, link: ScriptedLink, sender: Sender, raised: RaisedAlarms, time: Time) -> None:
        self.outbox, self.link, self.sender, self.raised, self.time = outbox, link, sender, raised, time

    async def record(self, *numbers: int, type: str = "board", kind: Kind = Kind.MEASUREMENT) -> None:
        for n in numbers:
            self.outbox.record(kind, type, {"n": n})
        await self.outbox.maintain()

    def acknowledge(self, seq: int, type: str = "board", **more: Any) -> None:
        self.sender.acknowledged(msgspec.json.encode({"type": type, "seq": seq, **more}))

    async def settled(self) -> None:
        """Whatever can go has gone."""
        for _ in range(3):
            await asyncio.sleep(0.02)

    async def later(self, seconds: float) -> None:
        """The sender looks again because something has come."""
        self.time.pass_s(seconds)
        self.outbox.arrived.set()
        await self.settled()


@asynccontextmanager
async def device(
    path: Path, *, connected: bool = True, busy: Callable[[], bool] = lambda: False, **options: Any
) -> AsyncIterator[Device]:
    time, link = Time(), ScriptedLink()
    outbox = Outbox(path, clock=time.clock, limits=OutboxLimits(flush_s=60))
    await outbox.open()
    raised = RaisedAlarms(TOPICS, [])
    sender = Sender(link, outbox, TOPICS, SenderOptions(**options), clock=time.clock, raised=raised, busy=busy)
    task = asyncio.create_task(sender.run())
    if connected:
        sender.connected()
    try:
        yield Device(outbox, link, sender, raised, time)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await outbox.close()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not true():  # noqa: ASYNC110 - threads and other tasks are waited for
            await asyncio.sleep(0.002)
