"""Everything that is announced, as it should lie on the broker: topics to payloads. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec

from agent.fleet.announce import thin_edge
from agent.fleet.announce.about import About
from agent.fleet.announce.homeassistant import discovery, twin_alarms
from agent.fleet.announce.models import Twin
from agent.fleet.announce.sensors import ALARMS
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
    raised: Collection[str] | None,
    home_assistant: str | None,
    readable: bool = True,
    former: Mapping[str, str] | None = None,
) -> dict[str, bytes]:
    """Without the health, which is of the moment. `capabilities` are by operation, and those of allowed ones only;
    `raised` are the alarms, None where nothing is measured. `home_assistant` is its discovery prefix, None for no
    discovery; `readable` says whether measurements come in a form that it can read,
    `former` are entities that it knows from before."""
    found = registration(topics, about)
    for name, capability in capabilities.items():
        found[topics.capability(name)] = _encoder.encode(capability)
    found[topics.model] = _encoder.encode(twin)
    if raised is not None:
        found[twin_alarms(topics)] = _encoder.encode({name: name in raised for name in ALARMS})
    if home_assistant is not None:
        telemetry = readable and raised is not None
        described = discovery(topics, about, twin=twin, operations=capabilities, telemetry=telemetry, former=former)
        found[topics.home_assistant(home_assistant)] = _encoder.encode(described)
    return found
