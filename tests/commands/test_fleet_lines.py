"""Observations as lines."""

from __future__ import annotations

from typing import Any

import pytest

from agent.commands.fleet_lines import lines_of
from agent.fleet.remote.observation import Kind, Observation
from agent.fleet.remote.roster import Device, DeviceModel

DEVICE = Device(
    name="k", up=True, version="1.2", board="Pi", models=(DeviceModel("a", "1", "ready"), DeviceModel("b", "2", "cold"))
)


def lines(
    kind: Kind, *, samples: tuple[Any, ...] = (), lost: int = 0, device: Device | None = DEVICE, **more: Any
) -> list[str]:
    seen = Observation(device="k", kind=kind, **more)
    return [line.split("  ", 1)[1] for line in lines_of(seen, samples, lost, device, 1.0)]


@pytest.mark.parametrize(
    ("kind", "more", "expected"),
    [
        (Kind.HEALTH, {"data": {"status": "up"}}, ["k  up"]),
        (Kind.HEALTH, {"cleared": True}, ["k  health was cleared"]),
        (Kind.REGISTRATION, {"data": {}}, ["k  registered, version 1.2, Pi"]),
        (Kind.REGISTRATION, {"cleared": True}, ["k  is not registered any more"]),
        (Kind.REGISTRATION, {"data": {}, "device": None}, ["k  is not registered any more"]),
        (Kind.MODELS, {"data": {}}, ["k  models: a 1, b 2 (cold)"]),
        (
            Kind.ALARM,
            {"type": "hot", "data": {"severity": "major", "text": "82 °C"}},
            ["k  ALARM hot severity=major text=82 °C"],
        ),
        (Kind.ALARM, {"type": "hot", "data": "too hot"}, ["k  ALARM hot too hot"]),
        (Kind.ALARM, {"type": "hot", "cleared": True}, ["k  ALARM hot is over"]),
        (Kind.EVENT, {"type": "e", "samples": ({"time": 1, "up": 2, "text": "x"},)}, ["k  event e text=x"]),
        (
            Kind.MEASUREMENT,
            {"type": "m", "samples": ({"a": {"b": 1}}, 7)},
            ["k  measurement m a.b=1", "k  measurement m 7"],
        ),
        (
            Kind.MEASUREMENT,
            {"type": "m", "samples": ({"time": "x"}, {"time": 1e300}), "lost": 1200},
            ["k  measurement m 1,200 samples were lost on the device", "k  measurement m ", "k  measurement m "],
        ),
        (Kind.COMMAND, {"type": "g/1", "data": {"status": "failed", "reason": "no"}}, ["k  command g/1 failed no"]),
        (Kind.COMMAND, {"type": "g/1", "data": {"status": {"x": 1}}}, ['k  command g/1 {"x": 1}']),
        (Kind.COMMAND, {"type": "g/1", "data": [1]}, ["k  command g/1 [1]"]),
        (Kind.COMMAND, {"type": "g/1", "cleared": True}, ["k  command g/1 was cleared"]),
        (Kind.EVENT, {"type": "e", "garbled": "no JSON", "raw": "\x1b[2J"}, ["k  event e sent no JSON: \\x1b[2J"]),
    ],
)
def test_an_observation_in_words(kind: Kind, more: dict[str, Any], expected: list[str]) -> None:
    assert lines(kind, **more) == expected


def test_a_long_value_does_not_fill_the_screen() -> None:
    [line] = lines(Kind.EVENT, type="e", samples=({"text": "x" * 1_000_000},))
    assert len(line) < 400
