"""What thin-edge.io's tools read: its MQTT reference and `tedge_api` are the authority."""

from __future__ import annotations

import json

import pytest

from agent.fleet.announce.health import health, is_down, last_will
from agent.fleet.announce.thin_edge import is_health_check, registration
from agent.fleet.topics import Topics
from tests.fleet.announce.scripted import ABOUT, TOPICS, P


def test_the_registration_is_a_service_of_its_device() -> None:
    """entity_store.rs: `@type` is one of three, `@parent` a topic id of four levels without the root."""
    found = registration(Topics("other/root", "kitchen"), ABOUT)
    assert found["@type"] == "service"
    assert found["@parent"] == "device/kitchen//"
    assert found["@parent"].count("/") == 3
    assert {key for key in found if key.startswith("@")} <= {"@type", "@parent", "@id", "@topic-id", "@health"}
    assert all(isinstance(value, str) for value in found.values())
    assert (found["name"], found["type"]) == ("edge-agent", "service")


def test_health_has_the_fields_that_the_mapper_reads_and_the_will_has_no_time() -> None:
    up = health(TOPICS, ABOUT, "up", 1234.5678)
    assert (up.topic, up.retain, up.qos) == (f"{P}/status/health", True, 1)
    assert json.loads(up.payload) == {"status": "up", "pid": 7, "boot_id": "b", "time": 1234.568}
    will = last_will(TOPICS, ABOUT)
    assert will.retain
    assert json.loads(will.payload) == {"status": "down", "pid": 7, "boot_id": "b"}


@pytest.mark.parametrize(
    ("topic", "expected"),
    [
        (f"{P}/cmd/health/check", True),
        ("te/device/kitchen///cmd/health/check", True),
        (f"{P}/cmd/health/1", False),
        (f"{P}/cmd/generate/check", False),
        ("te/device/pantry///cmd/health/check", False),
    ],
)
def test_who_asks_for_the_health(topic: str, expected: bool) -> None:
    assert is_health_check(TOPICS, topic) == expected


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b'{"status": "down"}', True),
        (b'{"status": "up"}', False),
        (b"", False),
        (b"down", False),
        (b'["down"]', False),
        (b"\xff", False),
        (b"[" * 100_000, False),
    ],
)
def test_whether_somebody_is_down(payload: bytes, expected: bool) -> None:
    assert is_down(payload) == expected
