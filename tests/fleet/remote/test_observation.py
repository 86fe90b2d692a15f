"""Topics and payloads of any kind become observations, and states that come again are not new."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest

from agent.fleet.remote import novelty
from agent.fleet.remote.novelty import Novelty
from agent.fleet.remote.observation import Kind, Observation, observe
from agent.fleet.topics import FleetTopics

FLEET = FleetTopics("te")
P = "te/device/d/service/edge-agent"


def seen(below: str, payload: bytes, **more: Any) -> Observation | None:
    return observe(FLEET, P + below, payload, **more)


@pytest.mark.parametrize(
    ("below", "kind", "type"),
    [
        ("", Kind.REGISTRATION, ""),
        ("/status/health", Kind.HEALTH, ""),
        ("/twin/model", Kind.MODELS, ""),
        ("/m/board", Kind.MEASUREMENT, "board"),
        ("/e/crash", Kind.EVENT, "crash"),
        ("/a/hot", Kind.ALARM, "hot"),
        ("/cmd/generate/1", Kind.COMMAND, "generate/1"),
    ],
)
def test_the_topic_says_what_it_is(below: str, kind: Kind, type: str) -> None:
    expected = Observation(device="d", kind=kind, type=type, data={"x": 1})
    assert seen(below, b'{"x": 1}') == expected
    assert seen(below, zlib.compress(b'{"x": 1}')) == expected
    assert seen(below, b"") == Observation(device="d", kind=kind, type=type, cleared=True)


@pytest.mark.parametrize("below", ["/m", "/m/a/b", "/cmd/generate", "/cmd/a/b/stream", "/x/y", "/ack"])
def test_other_topics_are_nothing(below: str) -> None:
    assert seen(below, b"{}") is None


def test_what_is_no_json_is_shown_as_far_as_it_can() -> None:
    found = seen("/e/x", b"\xff\x1b" + b"a" * 10_000)
    assert found is not None
    assert found.garbled == "no JSON"
    assert found.raw.startswith("\\xff\x1ba")
    assert len(found.raw) < 500
    assert json.dumps(found.as_json())


def test_what_was_too_large_says_so() -> None:
    found = seen("/e/x", b"", oversized_bytes=5_000_000)
    assert found is not None
    assert "5,000,000 bytes" in found.garbled


def test_states_that_come_again_are_not_new() -> None:
    known = Novelty()

    def new(below: str, payload: bytes) -> bool:
        found = seen(below, payload)
        assert found is not None
        return known.feed(found)

    assert new("/status/health", b'{"status": "up", "pid": 1, "time": 1}')
    assert not new("/status/health", b'{"status": "up", "pid": 1, "time": 2}')
    assert new("/status/health", b'{"status": "up", "pid": 2, "time": 2}')
    assert not new("/a/hot", b"")  # nothing was known of it
    assert new("/a/hot", b'{"severity": "major"}')
    assert new("/a/hot", b"")
    assert not new("/a/hot", b"")
    assert new("/e/x", b"[1]")
    assert new("/e/x", b"\xff")


def test_states_that_somebody_makes_up_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(novelty, "REMEMBERED", 10)
    known = Novelty()
    for number in range(100):
        assert known.feed(Observation(device="d", kind=Kind.ALARM, type=str(number), data=1))
    assert not known.feed(Observation(device="d", kind=Kind.ALARM, type="99", data=1))
    assert known.feed(Observation(device="d", kind=Kind.ALARM, type="0", data=1))
