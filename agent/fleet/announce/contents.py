"""Everything that is announced, as it should lie on the broker: topics to payloads. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from agent.fleet.announce import thin_edge
from agent.fleet.announce.about import About
from agent.fleet.announce.homeassistant import PREFIX, discovery
from agent.fleet.announce.models import Twin
from agent.fleet.topics import Topics

_encoder: Final = msgspec.json.Encoder(order="deterministic")


def registration(topics: Topics, about: About) -> dict[str, bytes]:
    """What has to be there before anything else."""
    return {topics.service: _encoder.encode(thin_edge.registration(topics, about))}


def contents(
    topics: Topics,
    about: About,
    *,
    capabilities: Mapping[str, Mapping[str, Any]],
    twin: Twin,
    home_assistant: str | None,
    telemetry: bool = True,
) -> dict[str, bytes]:
    """Without the health, which is of the moment. `capabilities` are by operation, and those of allowed ones only;
    `home_assistant` is its discovery prefix, None for no discovery."""
    found = registration(topics, about)
    for name, capability in capabilities.items():
        found[topics.capability(name)] = _encoder.encode(capability)
    found[topics.model] = _encoder.encode(twin)
    if home_assistant is not None:
        described = discovery(topics, about, twin=twin, operations=capabilities, telemetry=telemetry)
        found[topics.home_assistant(home_assistant or PREFIX)] = _encoder.encode(described)
    return found
