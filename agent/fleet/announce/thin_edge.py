"""What the tools of thin-edge.io expect of a service besides what all others see. Pure.

Its MQTT reference says it (docs/src/references/mqtt-api.md in thin-edge/thin-edge.io): a service registers itself with
a retained message on its own topic, and says how it is when it is asked to. Where no broker's `main` device is called
like this one, tedge-mapper registers the device by itself with the first message (`auto_register_entity` in
tedge_api/src/entity_store.rs).
"""

from __future__ import annotations

from typing import Any, Final

from agent.fleet.announce.about import About
from agent.fleet.topics import SERVICE, Command, Topics

HEALTH_CHECK: Final = Command("health", "check")


def registration(topics: Topics, about: About) -> dict[str, Any]:
    """On `P`. Keys without `@` are free; `name` and `type` are shown."""
    return {
        "@type": "service",
        "@parent": f"device/{topics.device}//",
        "name": SERVICE,
        "type": "service",
        "version": about.version,
        "board": about.board,
    }


def device_health_check(topics: Topics) -> str:
    """Asks all services of the device; `P/cmd/health/check` asks this one."""
    return f"{topics.root}/device/{topics.device}///cmd/health/check"


def is_health_check(topics: Topics, topic: str) -> bool:
    return topic == device_health_check(topics) or topics.parse_command(topic) == HEALTH_CHECK
