"""The fleet side of the daemon: one link, and everything that speaks over it.

service = FleetService(options, about, runtime=runtime, store=store, operations=[...], heat=profile.thermal)
async with asyncio.TaskGroup() as group:
    group.create_task(service.run())
    ...
    await service.close()       # says that the device goes
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from agent.fleet.announce import thin_edge
from agent.fleet.announce.about import About
from agent.fleet.announce.announcer import Announcer, watched
from agent.fleet.announce.health import health, last_will
from agent.fleet.announce.homeassistant import has_begun, status_topic
from agent.fleet.announce.inventory import Inventory
from agent.fleet.announce.record import Record
from agent.fleet.blocks import Blocks
from agent.fleet.commands.desk import CommandDesk
from agent.fleet.commands.journal import Journal
from agent.fleet.commands.keeping import keeping_for
from agent.fleet.commands.operation import AnyOperation
from agent.fleet.commands.permissions import Permission, Permissions
from agent.fleet.desired import Desired, Updates
from agent.fleet.link.link import Link
from agent.fleet.link.messages import Connected, Disconnected, Received
from agent.fleet.link.settings import LinkSettings
from agent.fleet.link.state import LinkState
from agent.fleet.power import PowerTopic
from agent.fleet.telemetry.board import BoardSource, ScopedMeter
from agent.fleet.telemetry.clock import Clock
from agent.fleet.telemetry.engine import EngineSource
from agent.fleet.telemetry.governor import GovernorSource, HasStatus
from agent.fleet.telemetry.link import LinkSource
from agent.fleet.telemetry.models import ModelsSource
from agent.fleet.telemetry.rules import HeatLimits
from agent.fleet.telemetry.sample import Values
from agent.fleet.telemetry.settings import TelemetrySettings
from agent.fleet.telemetry.state import OutboxState
from agent.fleet.telemetry.telemetry import Telemetry
from agent.fleet.topics import Topics, matches
from agent.runtime.service import Runtime
from agent.store.store import Store

JOURNAL: Final = "commands.db"
OUTBOX: Final = "telemetry.db"
RECORD: Final = "announced.json"
NOTE_S: Final = 2.0
"""A disk that does not answer holds up no stop."""

_log = logging.getLogger("agent.fleet")


@dataclass(frozen=True, kw_only=True)
class FleetOptions:
    """`folder` is where the databases lie, `models_folder` where the models do. Without `telemetry` nothing is
    measured; `home_assistant` is its discovery prefix, None for no discovery."""

    link: LinkSettings
    topics: Topics
    folder: Path
    models_folder: Path
    permissions: Mapping[str, Permission]
    telemetry: TelemetrySettings | None
    home_assistant: str | None = None


class FleetService:
    """`run` once, in a task. Raises `ConfigError` for settings that cannot be.

    `meter` measures the board's power, where something does; `governor` slows the board down. `updates` strives for
    the desired state, as far as `model_update` is allowed, and `blocks` is its way to the broker. `power` is the topic
    of a smart plug. `wall` gives Unix time.
    """

    def __init__(
        self,
        options: FleetOptions,
        about: About,
        *,
        runtime: Runtime,
        store: Store,
        operations: Sequence[AnyOperation],
        heat: HeatLimits,
        meter: ScopedMeter | None = None,
        governor: HasStatus | None = None,
        updates: Updates | None = None,
        blocks: Blocks | None = None,
        power: PowerTopic | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        topics = options.topics
        record = Record(options.folder / RECORD)
        self._topics = topics
        self._about = about
        self._runtime = runtime
        self._wall = wall
        self._commands = (topics.commands_filter, topics.requests_filter)
        permission = options.permissions.get("model_update")
        allowed = permission is not None and permission.allow
        prefix = options.home_assistant
        self._home_assistant = status_topic(prefix) if prefix is not None else None
        self._link = Link(
            options.link,
            will=last_will(topics, about),
            subscriptions=[
                *self._commands,
                topics.acknowledgement,
                thin_edge.device_health_check(topics),
                *watched(record, topics),
                *([self._home_assistant] if self._home_assistant is not None else []),
                *([topics.desired] if updates is not None and allowed else []),
                *([topics.blocks_filter] if blocks is not None else []),
                *([power.topic] if power is not None else []),
            ],
        )
        self._blocks = blocks
        self._power = power
        if blocks is not None:
            blocks.attach(self._link, topics)
        permission = options.permissions.get("model_update")
        allowed = permission is not None and permission.allow
        self._desired = Desired(updates, self._link.acknowledge) if updates is not None and allowed else None
        self._desk = CommandDesk(
            self._link,
            Journal(options.folder / JOURNAL, keeping=keeping_for(options.link.session_expiry_s)),
            operations,
            Permissions(options.permissions),
            topics,
            boot=about.boot_id,
        )
        self._telemetry = self._measuring(options, heat, meter, governor) if options.telemetry is not None else None
        self._announcer = Announcer(
            self._link,
            topics,
            about,
            capabilities={name: found for name, found in self._desk.capabilities().items() if found is not None},
            models=Inventory(runtime, store, updates=updates),
            record=record,
            alarms=self._telemetry,
            home_assistant=options.home_assistant,
            readable=options.telemetry is None or not options.telemetry.deflate,
            wall=wall,
        )
        self._closing = asyncio.Event()
        self._ended = asyncio.Event()
        self._running = False

    async def run(self) -> None:
        """Until `close`. Cancelled, it goes without a word, and the broker publishes the last will."""
        self._running = True
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._link.run(), name="mqtt:link")
                others = [
                    group.create_task(self._dispatch(), name="mqtt:dispatch"),
                    group.create_task(self._desk.run(), name="mqtt:commands"),
                    group.create_task(self._announcer.run(), name="mqtt:announce"),
                ]
                if self._desired is not None:
                    others.append(group.create_task(self._desired.run(), name="mqtt:desired"))
                if self._telemetry is not None:
                    others.append(group.create_task(self._telemetry.run(), name="mqtt:telemetry"))
                    others.append(group.create_task(self._note("started"), name="mqtt:started"))
                await self._closing.wait()
                await self._note("stopped")
                for task in others:
                    task.cancel()
                await asyncio.wait(others)
                await self._link.close(health(self._topics, self._about, "down", self._wall()))
        finally:
            if self._telemetry is not None:
                await self._telemetry.close()
            self._ended.set()

    async def close(self) -> None:
        """Takes no more commands, says that the device goes, and ends. What was being carried out is taken up again by
        the next start, where it can be repeated."""
        self._closing.set()
        if self._running:
            await self._ended.wait()

    def models_changed(self) -> None:
        self._announcer.look()

    @property
    def link(self) -> LinkState:
        return self._link.state

    @property
    def outbox(self) -> OutboxState | None:
        return self._telemetry.state.outbox if self._telemetry is not None else None

    def state(self) -> dict[str, Any]:
        """For /status: plain values."""
        link = asdict(self._link.state)
        telemetry = self._telemetry.state if self._telemetry is not None else None
        return {
            "device": self._topics.device,
            "topic": self._topics.service,
            **link,
            "commands": self._desk.snapshot(),
            "telemetry": None if telemetry is None else asdict(telemetry),
        }

    async def _note(self, what: str) -> None:
        """An event of the daemon itself. Without a stop before the next start, the daemon crashed."""
        if self._telemetry is None:
            return
        values: Values = {
            "what": what,
            "version": self._about.version,
            "pid": self._about.pid,
            "boot": self._about.boot_id,
        }
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(NOTE_S):
                await self._telemetry.event("daemon", f"edge-agent {self._about.version} has {what}.", values)

    def _measuring(
        self, options: FleetOptions, heat: HeatLimits, meter: ScopedMeter | None, governor: HasStatus | None
    ) -> Telemetry:
        assert options.telemetry is not None
        return Telemetry(
            self._link,
            options.topics,
            options.telemetry,
            sources=[
                BoardSource(options.models_folder, meter=meter),
                EngineSource(self._runtime),
                ModelsSource(self._runtime),
                LinkSource(self._link),
                *([GovernorSource(governor)] if governor is not None else []),
            ],
            heat=heat,
            path=options.folder / OUTBOX,
            busy=lambda: any(model.running for model in self._runtime.models()),
            clock=Clock(boot=self._about.boot_id),
        )

    async def _dispatch(self) -> None:
        """Each event to whom it concerns; a message that is nobody's is acknowledged and forgotten."""
        async for event in self._link.events():
            if self._telemetry is not None:
                self._telemetry.handle(event)
            match event:
                case Connected():
                    self._announcer.connected(event)
                    self._desk.connected()
                case Disconnected():
                    self._announcer.disconnected()
                case Received():
                    await self._take(event)

    async def _take(self, received: Received) -> None:
        topic = received.topic
        if self._power is not None and topic == self._power.topic:
            self._power.take(received)
        elif thin_edge.is_health_check(self._topics, topic):
            self._announcer.say_health()
        elif topic == self._home_assistant:
            if self._telemetry is not None and has_begun(received.payload):
                self._telemetry.refresh()
        elif any(matches(filter, topic) for filter in self._commands):
            await self._desk.handle(received)  # which acknowledges it once it is on the disk
            return
        elif topic == self._topics.desired and self._desired is not None:
            self._desired.take(received)  # which acknowledges it once it is on the disk
            return
        elif self._blocks is not None and self._blocks.handle(topic, received.payload):
            pass
        elif topic != self._topics.acknowledgement:
            self._announcer.seen(received)
        self._link.acknowledge(received)
