"""Retained messages of devices become rows, whatever they say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agent.fleet.remote import roster as rosters
from agent.fleet.remote.roster import Device, DeviceModel, Roster
from agent.fleet.topics import FleetTopics

P = "te/device/kitchen/service/edge-agent"


def fed(*messages: tuple[str, Any]) -> Roster:
    roster = Roster(FleetTopics("te"))
    for topic, body in messages:
        roster.feed(topic, body if isinstance(body, bytes) else json.dumps(body).encode())
    return roster


def test_a_device_as_it_announces_itself() -> None:
    models = {
        "qwen": {"version": "7", "state": "ready", "task": "generate"},
        "old": {"state": "inactive", "newest": "1"},
    }
    [device] = fed(
        (P, {"@type": "service", "name": "edge-agent", "version": "1.2", "board": "Raspberry Pi 5"}),
        (f"{P}/status/health", {"status": "up", "pid": 1, "boot_id": "b", "time": 1000.5}),
        (f"{P}/twin/model", {"models": models}),
    ).devices()
    assert device == Device(
        name="kitchen",
        up=True,
        since=1000.5,
        version="1.2",
        board="Raspberry Pi 5",
        models=(DeviceModel("qwen", "7", "ready"), DeviceModel("old", "", "inactive")),
        registered=True,
    )


@pytest.mark.parametrize(
    ("health", "state", "since"),
    [
        ({"status": "up", "time": "2030-01-01T00:00:00Z"}, "up", 1893456000.0),
        ({"status": "down"}, "down", None),
        ({"status": ["up"]}, "unknown", None),
        ({"status": {"up": 1}, "time": {}}, "unknown", None),
        ({"time": True}, "unknown", None),
        (b"\xff", "unknown", None),
        (b"[]", "unknown", None),
    ],
)
def test_health_of_any_kind(health: Any, state: str, since: float | None) -> None:
    [device] = fed((f"{P}/status/health", {"status": "up"}), (f"{P}/status/health", health)).devices()[:1] or [
        Device(name="kitchen")
    ]
    assert (device.state, device.since) == (state, since)


@pytest.mark.parametrize(
    ("twin", "names"),
    [
        ({"models": [{"name": "a", "version": "1"}, "b", None]}, ["a"]),
        ({"models": {"a": "1", "b": None}}, ["a", "b"]),
        ({"models": 7}, []),
        ({"models": {str(number): {} for number in range(10_000)}}, [str(number) for number in range(256)]),
        (b"[[[", []),
    ],
)
def test_models_of_any_kind(twin: Any, names: list[str]) -> None:
    roster = fed((f"{P}/twin/model", twin))
    device = roster.device("kitchen")
    assert device is not None
    assert [model.name for model in device.models] == names


@pytest.mark.parametrize(
    "topic",
    [
        "te/device/kitchen",
        "te/device//service/edge-agent",
        f"x{P}",
        f"{P}/m/x",
        f"{P}/cmd/a/b",
        "te/device/a/service/other",
    ],
)
def test_other_topics_are_of_no_device(topic: str) -> None:
    assert fed((topic, {"status": "up"})).devices() == []


def test_what_garbles_a_topic_is_remembered_until_it_is_repaired() -> None:
    roster = fed((P, b"\xff"))
    assert [device.garbled for device in roster.devices()] == [("",)]
    assert roster.feed(P, b"{}") == Device(name="kitchen")


def test_a_device_whose_topics_were_cleared_is_gone() -> None:
    assert fed((P, {"version": "1"}), (P, b"")).devices() == []


def test_only_changes_are_reported() -> None:
    roster = fed((P, {"version": "1"}))
    assert roster.feed(P, b'{"version": "1", "more": 1}') is None
    assert roster.feed(P, b'{"version": "2"}') is not None


def test_names_that_somebody_makes_up_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rosters, "DEVICES", 3)
    roster = fed(*((f"te/device/d{number}/service/edge-agent", {"version": "1"}) for number in range(5)))
    assert (len(roster.devices()), roster.left_out) == (3, 2)


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        ({}, True),
        ({"model": "qwen"}, True),
        ({"model": "qw*"}, True),
        ({"model": "qwen@7"}, True),
        ({"model": "qwen@8"}, False),
        ({"model": "old"}, False),
        ({"model": "*", "board": "*Pi 5", "version": "1.*", "state": "up"}, True),
        ({"model": "qwen", "state": "down"}, False),
    ],
)
def test_devices_are_chosen_by_conditions(wanted: dict[str, str], fits: bool) -> None:
    models = (DeviceModel("qwen", "7"), DeviceModel("old"))
    device = Device(name="d", up=True, version="1.2", board="Raspberry Pi 5", models=models)
    assert device.fits(wanted) == fits
