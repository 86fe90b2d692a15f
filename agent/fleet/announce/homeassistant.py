"""Discovery for Home Assistant: one message that describes the device with all its entities. Pure.

The schema is that of Home Assistant's own source, `homeassistant/components/mqtt/schemas.py` (DEVICE_DISCOVERY_SCHEMA)
and `sensor.py`, `binary_sensor.py`, `update.py`, `button.py` beside it, release 2025.11; described on
https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery. Names are written out: the abbreviations of
`abbreviations.py` there mean the same.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

import msgspec

from agent.fleet.announce.about import About
from agent.fleet.announce.models import Twin
from agent.fleet.announce.sensors import ALARMS, SENSORS, Sensor
from agent.fleet.topics import Topics

Entity = dict[str, Any]

_MODEL_BUTTONS: Final = (
    ("model_load", "Load", "mdi:tray-arrow-down"),
    ("model_unload", "Unload", "mdi:tray-remove"),
    ("model_rollback", "Roll back", "mdi:history"),
)


def discovery(
    topics: Topics,
    about: About,
    *,
    twin: Twin,
    operations: Collection[str],
    telemetry: bool = True,
    former: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """`operations` are those that may be asked for: only they become buttons. `telemetry` says whether measurements
    come in a form that Home Assistant can read.

    `former` are the platforms of entities that were there once, by key: an entity that is only left out stays in Home
    Assistant, one that is nothing but its platform is removed.
    """
    id = device_id(topics)
    entities: dict[str, Entity] = {}
    if telemetry:
        entities |= {sensor.key: _sensor(topics, sensor) for sensor in SENSORS}
        entities |= {f"alarm_{name}": _alarm(topics, name, title) for name, title in ALARMS.items()}
    for name, model in twin.get("models", {}).items():
        entities |= dict(_of_model(topics, name, model, operations))
    if "transcribe" in operations:
        for what, title, icon in (("start", "Open", "mdi:microphone"), ("stop", "Close", "mdi:microphone-off")):
            button = _button(topics, "transcribe", {"microphone": what})
            entities[f"microphone_{what}"] = {**button, "name": f"{title} the microphone", "icon": icon}
    if "restart" in operations:
        entities["restart"] = {
            **_button(topics, "restart", {}),
            "name": "Restart edge-agent",
            "device_class": "restart",
            "entity_category": "config",
        }
    for key, entity in entities.items():
        entity["unique_id"] = f"{id}_{key}"
    for key, platform in (former or {}).items():
        entities.setdefault(key, {"platform": platform})
    return {
        "device": {
            "identifiers": [id],
            "name": topics.device,
            "model": about.board,
            "hw_version": about.architecture,
            "sw_version": about.version,
        },
        "origin": {"name": "edge-agent", "sw_version": about.version},
        "availability": [
            {
                "topic": topics.health,
                "value_template": "{{ value_json.status }}",
                "payload_available": "up",
                "payload_not_available": "down",
            }
        ],
        "qos": 1,
        "components": entities,
    }


def platforms(described: bytes) -> dict[str, str]:
    """Of the entities in such a message, by key."""
    components = msgspec.json.decode(described)["components"]
    return {key: entity["platform"] for key, entity in components.items()}


def status_topic(prefix: str) -> str:
    """Where Home Assistant says that it has started, or stopped (its birth and will message)."""
    return f"{prefix}/status"


def has_begun(payload: bytes) -> bool:
    """It has started, and knows no measurement any more: those are not retained."""
    return payload == b"online"


def twin_alarms(topics: Topics) -> str:
    """`{alarm: whether it is raised}`, retained."""
    return f"{topics.service}/twin/alarms"


def device_id(topics: Topics) -> str:
    """The same for as long as the device keeps its name."""
    return "edge_agent_" + _id(topics.device)


def _sensor(topics: Topics, sensor: Sensor) -> Entity:
    """Measurements come one by one, or several in a message, of which the last one counts. What a board cannot measure
    is in none of them: then the sensor stays unknown."""
    path = "".join(f"[{msgspec.json.encode(part).decode()}]" for part in sensor.field.split("."))
    value = f"v{path} / {sensor.divide_by}" if sensor.divide_by != 1 else f"v{path}"
    if sensor.platform == "binary_sensor":
        value = f"'ON' if v{path} else 'OFF'"
    parent = "".join(f"[{msgspec.json.encode(part).decode()}]" for part in sensor.field.split(".")[:-1])
    has = f"v{path} is defined" if not parent else f"v{parent} is defined and v{path} is defined"
    entity: Entity = {
        "platform": sensor.platform,
        "name": sensor.name,
        "state_topic": topics.measurement(sensor.type),
        "value_template": (
            "{% set v = value_json.samples[-1] if value_json.samples is defined else value_json %}"
            f"{{% if {has} %}}{{{{ {value} }}}}{{% endif %}}"
        ),
        "entity_category": "diagnostic",
    }
    if sensor.platform == "sensor":
        entity["state_class"] = sensor.state_class
        entity["suggested_display_precision"] = sensor.precision
        if sensor.unit:
            entity["unit_of_measurement"] = sensor.unit
    if sensor.device_class:
        entity["device_class"] = sensor.device_class
    if not sensor.shown:
        entity["enabled_by_default"] = False
    return entity


def _alarm(topics: Topics, name: str, title: str) -> Entity:
    """From the twin: the alarm's own topic is empty when it is not raised, which Home Assistant cannot see."""
    return {
        "platform": "binary_sensor",
        "name": title,
        "state_topic": twin_alarms(topics),
        "value_template": f"{{{{ 'ON' if value_json.{name} else 'OFF' }}}}",
        "device_class": "problem",
        "entity_category": "diagnostic",
    }


def _of_model(
    topics: Topics, name: str, model: Mapping[str, Any], operations: Collection[str]
) -> Iterator[tuple[str, Entity]]:
    """An update entity with the model's versions, a sensor with its state, and a button for each allowed operation."""
    id = _id(name)
    this = f"{{% set m = value_json.models.get({msgspec.json.encode(name).decode()}) %}}{{% if m %}}"
    update: Entity = {
        "platform": "update",
        "name": f"Model {name}",
        "title": name,
        "state_topic": topics.model,
        "value_template": (
            this + "{{ {'installed_version': m.version | default('none', true),"
            " 'latest_version': m.newest | default(m.version, true) | default('none', true)} | tojson }}{% endif %}"
        ),
        "json_attributes_topic": topics.model,
        "json_attributes_template": this + "{{ m | tojson }}{% else %}{}{% endif %}",
    }
    yield f"model_{id}", update
    yield (
        f"model_{id}_state",
        {
            "platform": "sensor",
            "name": f"Model {name} state",
            "state_topic": topics.model,
            "value_template": this + "{{ m.state }}{% endif %}",
            "entity_category": "diagnostic",
            "icon": "mdi:memory",
        },
    )
    for operation, title, icon in _MODEL_BUTTONS:
        if operation in operations and model.get("version") is not None:
            button = {"name": f"{title} {name}", "icon": icon, "entity_category": "config"}
            yield f"{operation}_{id}", {**_button(topics, operation, {"model": name}), **button}


def _button(topics: Topics, operation: str, args: Mapping[str, Any]) -> Entity:
    """Each press is a request of its own, though its topic and payload are fixed."""
    return {"platform": "button", "command_topic": topics.request(operation), "payload_press": _json(args)}


def _id(text: str) -> str:
    """What an id of Home Assistant may hold."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", text)


def _json(value: Mapping[str, Any]) -> str:
    return msgspec.json.encode(value).decode()
