"""All of telemetry, joined: sampler, outbox, sender. The link's events are handed in, its `publish` is used.

telemetry = Telemetry(link, topics, settings, sources=[...], heat=profile.thermal, path=state_dir / "outbox.db")
async with asyncio.TaskGroup() as group:
    group.create_task(telemetry.run())
    async for event in link.events():
        telemetry.handle(event)            # Connected, Disconnected, and Received on topics.acknowledgement
        ...
    await telemetry.close()
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.fleet.link.messages import Connected, Disconnected, Event, Received
from agent.fleet.telemetry.clock import Clock
from agent.fleet.telemetry.outbox import Outbox
from agent.fleet.telemetry.own import OwnSource
from agent.fleet.telemetry.publisher import Publisher
from agent.fleet.telemetry.raised import RaisedAlarms
from agent.fleet.telemetry.rules import HeatLimits
from agent.fleet.telemetry.sample import Kind, Values
from agent.fleet.telemetry.sampler import ALARM, Sampler
from agent.fleet.telemetry.sender import Sender
from agent.fleet.telemetry.settings import (
    TelemetrySettings,
    measured,
    outbox_limits,
    rules,
    sender_options,
)
from agent.fleet.telemetry.source import Source
from agent.fleet.telemetry.state import OutboxState
from agent.fleet.topics import Topics

EVENTS: Final = ((Kind.EVENT, "daemon"), (Kind.EVENT, "model"))


@dataclass(frozen=True, kw_only=True)
class TelemetryState:
    """For /status and metrics. `raised` names the alarms that are."""

    outbox: OutboxState
    sent_samples: int
    sent_messages: int
    raised: tuple[str, ...]


class Telemetry:
    """`busy` says whether the device serves somebody: then the backlog waits. Raises `ConfigError` for settings that
    name what does not exist."""

    def __init__(
        self,
        publisher: Publisher,
        topics: Topics,
        settings: TelemetrySettings,
        *,
        sources: Sequence[Source],
        heat: HeatLimits,
        path: Path,
        busy: Callable[[], bool] = lambda: False,
        clock: Clock | None = None,
    ) -> None:
        clock = clock or Clock.of_this_machine()
        watched = rules(settings, heat)
        raised = RaisedAlarms(topics, [rule.name for rule in watched])
        self._topics = topics
        self._outbox = Outbox(path, clock=clock, limits=outbox_limits(settings))
        self._sender = Sender(
            publisher, self._outbox, topics, sender_options(settings), clock=clock, raised=raised, busy=busy
        )
        self._sampler = Sampler(
            [*sources, OwnSource(self._outbox)],
            self._outbox,
            measured=measured(settings),
            rules=watched,
            raised=raised,
            watch_s=settings.watch_s,
            clock=clock,
        )
        self._types = [*((Kind.MEASUREMENT, source.type) for source in sources), (Kind.ALARM, ALARM), *EVENTS]
        self._opened = asyncio.Event()

    async def run(self) -> None:
        """Until it is cancelled; `close` comes after."""
        await self._outbox.open()
        for kind, type in self._types:
            self._outbox.declare(kind, type)
        await self._outbox.maintain()
        self._opened.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._outbox.run(), name="telemetry:outbox")
            group.create_task(self._sampler.run(), name="telemetry:sampler")
            group.create_task(self._sender.run(), name="telemetry:sender")

    def handle(self, event: Event) -> None:
        """What the link says; a `Received` is looked at if it is an acknowledgement. Acknowledging it towards the
        broker is the caller's, after this."""
        match event:
            case Connected():
                self._sender.connected()
            case Disconnected():
                self._sender.disconnected()
            case Received(topic=topic) if topic == self._topics.acknowledgement:
                self._sender.acknowledged(event.payload)

    async def event(self, type: str, text: str, values: Values | None = None) -> None:
        """Something happened. It is on the disk when this returns. Raises `TooLargeError`."""
        await self._opened.wait()
        await self._outbox.keep(Kind.EVENT, type, {"text": text, **(values or {})})

    def refresh(self) -> None:
        """Whoever reads the measurements has lost them: they are all sent anew, soon."""
        self._sampler.refresh()

    @property
    def state(self) -> TelemetryState:
        return TelemetryState(
            outbox=self._outbox.state,
            sent_samples=self._sender.sent_samples,
            sent_messages=self._sender.sent_messages,
            raised=tuple(sorted(self._outbox.raised)),
        )

    async def close(self) -> None:
        """What waits goes to the disk."""
        await self._outbox.close()
