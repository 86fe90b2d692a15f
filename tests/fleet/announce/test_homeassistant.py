"""Discovery against the fields that Home Assistant takes, and its templates against real payloads.

The tables are those of Home Assistant 2025.11, `homeassistant/components/mqtt/schemas.py`, `sensor.py`,
`binary_sensor.py`, `update.py`, `button.py` and `homeassistant/components/sensor/const.py`: required and optional keys
by platform, and the units that a device class goes with. An entity with an unknown key would still be taken there, and
the key ignored in silence.
"""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import jinja2
import pytest

from agent.fleet.announce.homeassistant import discovery, platforms
from agent.fleet.announce.models import models_twin
from agent.fleet.announce.sensors import ALARMS, SENSORS
from agent.fleet.telemetry.board import BoardSource
from agent.fleet.telemetry.message import batch, single
from agent.fleet.telemetry.rules import alarm_rules
from agent.fleet.telemetry.run import Run
from agent.fleet.telemetry.sample import Kind
from agent.fleet.topics import Topics
from agent.store.store import Listing
from tests.fleet.announce.scripted import ABOUT, TOPICS, P, served, stored

COMMON = {
    *("availability", "availability_mode", "availability_topic", "availability_template"),
    *("payload_available", "payload_not_available", "device", "origin", "enabled_by_default", "entity_category"),
    *("entity_picture", "icon", "json_attributes_topic", "json_attributes_template", "default_entity_id", "object_id"),
    *("unique_id", "qos", "encoding", "platform"),
}
READ = {"state_topic", "value_template"}
PLATFORMS: dict[str, tuple[set[str], set[str]]] = {
    "sensor": (
        {"state_topic"},
        {
            *("device_class", "expire_after", "force_update", "last_reset_value_template", "name", "options"),
            *("suggested_display_precision", "state_class", "unit_of_measurement"),
            *READ,
        },
    ),
    "binary_sensor": (
        {"state_topic"},
        {"device_class", "expire_after", "force_update", "name", "off_delay", "payload_off", "payload_on", *READ},
    ),
    "update": (
        {"state_topic"},
        {
            *("command_topic", "device_class", "display_precision", "latest_version_template", "latest_version_topic"),
            *("name", "payload_install", "release_summary", "release_url", "retain", "title"),
            *READ,
        },
    ),
    "button": (
        {"command_topic"},
        {"command_template", "command_topic", "device_class", "name", "payload_press", "retain"},
    ),
}
UNITS = {
    "temperature": {"°C", "°F", "K"},
    "data_size": {"bit", "B", "kB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB"},
    "power": {"mW", "W", "kW", "MW", "GW", "TW", "BTU/h"},
    "energy": {"J", "kJ", "MJ", "GJ", "mWh", "Wh", "kWh", "MWh", "GWh", "TWh", "cal", "kcal", "Mcal", "Gcal"},
    "frequency": {"Hz", "kHz", "MHz", "GHz"},
}
UPDATE_STATE = {
    *("installed_version", "latest_version", "title", "release_summary", "release_url", "entity_picture"),
    *("in_progress", "update_percentage"),
}
OPERATIONS = ("generate", "transcribe", "model_load", "model_unload", "model_rollback", "restart")
TWIN = models_twin(
    [served("qwen", "1", state="ready"), served('odd"name', "2")],
    Listing(
        models=(stored("qwen", "1", active=True, created=1), stored("qwen", "2", created=2), stored("idle", "1")),
        broken=(),
    ),
)


def described(**fields: Any) -> dict[str, Any]:
    return discovery(TOPICS, ABOUT, **{"twin": TWIN, "operations": OPERATIONS, **fields})


def rendered(template: str, payload: bytes | str) -> str:
    """As Home Assistant does: `value` is the payload, `value_json` what it says."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    environment.filters["tojson"] = json.dumps
    return environment.from_string(template).render(value=payload, value_json=json.loads(payload))


def test_the_device_and_origin_have_what_is_required_and_nothing_unknown() -> None:
    found = described()
    assert (
        found.keys() <= {"device", "origin", "components", "qos", "encoding", "state_topic", "command_topic"} | COMMON
    )
    device = {"identifiers", "connections", "manufacturer", "model", "model_id", "name", "hw_version", "serial_number"}
    assert found["device"].keys() <= device | {"sw_version", "via_device", "suggested_area", "configuration_url"}
    assert found["device"]["identifiers"]
    assert found["origin"].keys() <= {"name", "sw_version", "support_url"}
    assert found["origin"]["name"]


@pytest.mark.parametrize(("key", "entity"), described()["components"].items(), ids=described()["components"])
def test_each_entity_has_what_is_required_and_nothing_unknown(key: str, entity: dict[str, Any]) -> None:
    required, optional = PLATFORMS[entity["platform"]]
    assert required <= entity.keys() <= required | optional | COMMON
    assert entity["unique_id"] == f"edge_agent_kitchen_{key}"
    assert re.fullmatch("[a-zA-Z0-9_-]+", key)
    assert entity.get("entity_category") in (None, "config", "diagnostic")
    if entity["platform"] != "binary_sensor" and (unit_of := UNITS.get(entity.get("device_class", ""))):
        assert entity["unit_of_measurement"] in unit_of
    if entity.get("device_class") == "energy":
        assert entity["state_class"] in ("total", "total_increasing")
    for name, value in entity.items():
        if name.endswith("topic"):
            assert value.startswith(P + "/")
        if name.endswith("template"):
            jinja2.Environment().parse(value)


def test_names_and_ids_are_different() -> None:
    entities = described()["components"].values()
    assert len({entity["unique_id"] for entity in entities}) == len(entities)
    assert len({entity["name"] for entity in entities}) == len(entities)


def test_a_device_is_there_when_it_says_so() -> None:
    (availability,) = described()["availability"]
    assert availability["topic"] == f"{P}/status/health"
    for status, expected in (("up", "payload_available"), ("down", "payload_not_available")):
        payload = json.dumps({"status": status, "pid": 1})
        assert rendered(availability["value_template"], payload) == availability[expected]


@pytest.mark.parametrize("format", ["batch", "thin-edge"])
def test_sensors_show_what_telemetry_sends_in_either_format(format: str) -> None:
    sample = {
        "time": 1.5,
        "up": 2.5,
        "cpu_percent": 12.5,
        "temperature_celsius": 51.25,
        "memory_available_bytes": 512 * 2**20,
        "disk_free_bytes": 3 * 2**30,
        "throttled": True,
    }
    lines = [json.dumps({**sample, "cpu_percent": 99}).encode(), json.dumps(sample).encode()]
    run = Run(1, "boot", 0.0, lines)
    payload = batch(run, log="l", missing=0, up_s=None)
    if format == "thin-edge":
        payload = single(lines[-1], 2, Kind.MEASUREMENT)
    entities = described()["components"]
    shown = {
        key: rendered(entities[f"board_{key}"]["value_template"], payload)
        for key in ("cpu_percent", "temperature_celsius", "memory_available_bytes", "disk_free_bytes", "throttled")
    }
    assert shown == {
        "cpu_percent": "12.5",
        "temperature_celsius": "51.25",
        "memory_available_bytes": "512.0",
        "disk_free_bytes": "3.0",
        "throttled": "ON",
    }
    assert rendered(entities["board_power_watts"]["value_template"], payload) == "", "nothing is said, nothing shown"


def test_every_sensor_is_measured(tmp_path: Path) -> None:
    measured = asyncio.run(BoardSource(tmp_path).read())
    assert {sensor.field for sensor in SENSORS if sensor.type == "board"} <= measured.keys()
    assert {sensor.type for sensor in SENSORS} <= {"board", "engine"}


def test_every_alarm_is_shown() -> None:
    class Heat:
        hard_limit_celsius = 85.0
        hysteresis_celsius = 5.0

    assert list(ALARMS) == [rule.name for rule in alarm_rules(Heat())]
    entity = described()["components"]["alarm_too_hot"]
    assert entity["state_topic"] == f"{P}/twin/alarms"
    assert rendered(entity["value_template"], '{"too_hot": true}') == "ON"
    assert rendered(entity["value_template"], '{"too_hot": false}') == "OFF"


@pytest.mark.parametrize(
    ("key", "installed", "latest"),
    [("model_qwen", "1", "2"), ("model_odd_name", "2", "2"), ("model_idle", "none", "1")],
)
def test_an_update_entity_shows_the_served_and_the_newest_version(key: str, installed: str, latest: str) -> None:
    entity = described()["components"][key]
    found = json.loads(rendered(entity["value_template"], json.dumps(TWIN)))
    assert found == {"installed_version": installed, "latest_version": latest}
    assert found.keys() <= UPDATE_STATE
    assert json.loads(rendered(entity["json_attributes_template"], json.dumps(TWIN)))["task"] == "generate"
    gone = '{"models": {}}'
    assert rendered(entity["value_template"], gone) == ""
    assert rendered(entity["json_attributes_template"], gone) == "{}"


def test_the_state_of_a_model() -> None:
    entity = described()["components"]["model_qwen_state"]
    assert rendered(entity["value_template"], json.dumps(TWIN)) == "ready"


def test_buttons_ask_for_what_is_allowed_and_nothing_else() -> None:
    def buttons(*operations: str) -> dict[str, tuple[str, Any]]:
        return {
            key: (entity["command_topic"].removeprefix(f"{P}/rpc/"), json.loads(entity["payload_press"]))
            for key, entity in described(operations=operations)["components"].items()
            if entity["platform"] == "button"
        }

    assert buttons() == {}
    assert buttons("restart") == {"restart": ("restart", {})}
    assert buttons("transcribe") == {
        "microphone_start": ("transcribe", {"microphone": "start"}),
        "microphone_stop": ("transcribe", {"microphone": "stop"}),
    }
    assert buttons("model_rollback") == {
        "model_rollback_qwen": ("model_rollback", {"model": "qwen"}),
        "model_rollback_odd_name": ("model_rollback", {"model": 'odd"name'}),
    }


def test_measurements_that_cannot_be_read_make_no_entities() -> None:
    found = described(telemetry=False)["components"]
    assert not [key for key in found if key.startswith(("board_", "alarm_"))]
    assert "model_qwen" in found


def test_what_is_gone_keeps_its_platform_and_what_came_back_is_whole() -> None:
    former = {"model_old": "update", "model_qwen": "update"}
    found = described(former=former)["components"]
    assert found["model_old"] == {"platform": "update"}
    assert "state_topic" in found["model_qwen"]
    assert platforms(json.dumps({"components": found}).encode())["model_old"] == "update"


def test_ids_of_a_device_with_an_odd_name() -> None:
    topics = Topics("te", "Küche 1.OG")
    found = discovery(topics, ABOUT, twin=TWIN, operations=())
    assert re.fullmatch("[a-zA-Z0-9_-]+", found["device"]["identifiers"][0])
    assert found["device"]["name"] == "Küche 1.OG"
