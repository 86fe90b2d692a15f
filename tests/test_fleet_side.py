"""The fleet side as the daemon keeps it: what it is made with, and what a fault in it costs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agent import fleet_side
from agent.errors import ConfigError
from agent.fleet.commands.permissions import Permission
from agent.fleet.service import FleetService
from agent.fleet_side import Fleet, fleet_options
from agent.settings import MqttSettings
from agent.settings.mqtt_operations import OPERATIONS, operation_settings
from agent.settings.mqtt_telemetry import MqttTelemetrySettings


def mqtt(**values: Any) -> MqttSettings:
    return MqttSettings(**{"url": ("mqtt://h",), "device": "d", **values})


def test_what_is_set_reaches_the_service(tmp_path: Path) -> None:
    options = fleet_options(mqtt(), tmp_path)
    assert options.folder == tmp_path / "mqtt"
    assert options.home_assistant is None
    assert options.telemetry is not None
    assert options.permissions["restart"] == Permission(allow=False, concurrency=1, per_hour=4)
    assert options.permissions.keys() == OPERATIONS.keys()

    operations = {"restart": operation_settings("restart", {"allow": True, "per_hour": 1})}
    telemetry = MqttTelemetrySettings(enabled=False)
    options = fleet_options(mqtt(home_assistant=True, operations=operations, telemetry=telemetry), tmp_path)
    assert options.home_assistant == "homeassistant"
    assert options.telemetry is None
    assert options.permissions["restart"] == Permission(allow=True, concurrency=1, per_hour=1)


def test_without_a_name_the_device_is_called_like_its_host(tmp_path: Path) -> None:
    assert fleet_options(mqtt(device=None), tmp_path, hostname="pi5.home").topics.device == "pi5"


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"device": "a/b"}, "mqtt.device"),
        ({"home_assistant": True, "home_assistant_prefix": "home/+"}, "mqtt.home_assistant_prefix"),
        ({"url": ("http://h",)}, "mqtt.url"),
    ],
)
def test_what_cannot_be_is_named(tmp_path: Path, values: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        fleet_options(mqtt(**values), tmp_path)
    assert caught.value.param == key


class Service:
    """Runs until it is closed, or fails at once."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.running = asyncio.Event()
        self.closed = asyncio.Event()

    async def run(self) -> None:
        self.running.set()
        if self.error is not None:
            raise self.error
        await self.closed.wait()

    async def close(self) -> None:
        self.closed.set()


async def test_a_fault_ends_the_fleet_side_alone_and_it_begins_anew(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fleet_side, "AGAIN_S", 0.01)
    last = Service()
    services: list[Service | Exception] = [Service(ValueError("a mistake")), ValueError("cannot be made"), last]
    left = iter(services)

    def make() -> FleetService:
        service = next(left)
        if isinstance(service, Exception):
            raise service
        return service  # type: ignore[return-value]

    fleet = Fleet(make)
    task = asyncio.create_task(fleet.run())
    await asyncio.wait_for(last.running.wait(), 10)
    assert [record.exc_info is not None for record in caplog.records] == [True, True]
    await fleet.close()
    await asyncio.wait_for(task, 10)


async def test_closing_does_not_wait_for_another_beginning() -> None:
    fleet = Fleet(lambda: Service(ValueError("a mistake")))  # type: ignore[arg-type,return-value]
    task = asyncio.create_task(fleet.run())
    await asyncio.sleep(0.01)
    await fleet.close()
    await asyncio.wait_for(task, 10)
