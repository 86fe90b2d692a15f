"""The fleet side as the daemon keeps it. Imported only where a broker is set."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from agent.errors import ConfigError, RequestError
from agent.fleet.announce.about import About
from agent.fleet.blocks import Blocks
from agent.fleet.commands.device import Device
from agent.fleet.commands.operations.all import operations_of
from agent.fleet.commands.permissions import Permission
from agent.fleet.desired import Updates
from agent.fleet.link.state import LinkState
from agent.fleet.power import PowerReader, PowerTopic
from agent.fleet.service import FleetOptions, FleetService
from agent.fleet.telemetry.board import ScopedMeter
from agent.fleet.telemetry.governor import HasStatus
from agent.fleet.telemetry.rules import HeatLimits
from agent.fleet.telemetry.state import OutboxState
from agent.fleet.topics import check_root
from agent.hardware.board import Board
from agent.hardware.sensors.boot import read_boot_id
from agent.mqtt import link_settings, topics_of
from agent.runtime.service import Runtime
from agent.settings import MqttSettings, Settings
from agent.store.store import Store

FOLDER: Final = "mqtt"
"""In the state folder."""
AGAIN_S: Final = 60.0

_log = logging.getLogger("agent.fleet")


def fleet_options(mqtt: MqttSettings, state_dir: Path, *, hostname: str | None = None) -> FleetOptions:
    """Raises `ConfigError`."""
    topics = topics_of(mqtt, hostname or socket.gethostname())
    return FleetOptions(
        link=link_settings(mqtt, topics),
        topics=topics,
        folder=state_dir / FOLDER,
        models_folder=state_dir,
        permissions={
            name: Permission(allow=bool(said.allow), concurrency=said.concurrency or 1, per_hour=said.per_hour or 0)
            for name, said in mqtt.operations.items()
        },
        telemetry=mqtt.telemetry if mqtt.telemetry.enabled else None,
        home_assistant=_prefix(mqtt) if mqtt.home_assistant else None,
    )


def about_this(version: str, *, board: str, architecture: str) -> About:
    """This process."""
    return About(version=version, board=board, architecture=architecture, boot_id=read_boot_id(), pid=os.getpid())


def make_fleet(
    settings: Settings,
    device: Device,
    runtime: Runtime,
    store: Store,
    *,
    version: str,
    board: Board,
    heat: HeatLimits,
    sampling: Mapping[str, Mapping[str, float | int]],
    meter: ScopedMeter,
    governor: HasStatus,
    updates: Updates,
    blocks: Blocks | None,
    plug: PowerReader,
) -> Fleet:
    """`plug` is told what a smart plug says, where the settings name its topic. Raises `ConfigError`."""
    topic = settings.power_topic
    power = PowerTopic(topic, settings.power_json_key, plug) if topic else None
    options = fleet_options(settings.mqtt, settings.state_dir)
    operations = operations_of(runtime, store, device, sampling)
    about = about_this(version, board=board.model, architecture=board.architecture)

    def make() -> FleetService:
        return FleetService(
            options,
            about,
            runtime=runtime,
            store=store,
            operations=operations,
            heat=heat,
            meter=meter,
            governor=governor,
            updates=updates,
            blocks=blocks,
            power=power,
        )

    return Fleet(make)


class Fleet:
    """The fleet side for as long as the daemon runs. A mistake in it ends it alone: it is logged, the broker says that
    the device is down, and a minute later `make` is asked for another one.

    `make` is called once at once, so that settings that cannot be are an error at the start.
    """

    def __init__(self, make: Callable[[], FleetService]) -> None:
        self._make = make
        self._service = make()
        self._closing = asyncio.Event()

    async def run(self) -> None:
        """Until `close`."""
        broken = False
        while not self._closing.is_set():
            try:
                if broken:
                    self._service = self._make()
                await self._service.run()
                return
            except Exception:
                broken = True
                _log.exception("MQTT stopped working; it begins anew in %.0f s", AGAIN_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(AGAIN_S):
                    await self._closing.wait()

    async def close(self) -> None:
        """Says that the device goes, and ends."""
        self._closing.set()
        await self._service.close()

    def models_changed(self) -> None:
        self._service.models_changed()

    @property
    def link(self) -> LinkState:
        return self._service.link

    @property
    def outbox(self) -> OutboxState | None:
        return self._service.outbox

    def state(self) -> dict[str, Any]:
        return self._service.state()


def _prefix(mqtt: MqttSettings) -> str:
    try:
        return check_root(mqtt.home_assistant_prefix)
    except RequestError as error:
        key = "mqtt.home_assistant_prefix"
        raise ConfigError(f"{key}: {error.message}", param=key) from None
