"""`edge-agent microphone` against a server that keeps to the script."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.commands.microphone import line
from tests.commands.speech_server import SpeechServer
from tests.daemon_process import edge_agent


@pytest.fixture
def server() -> Iterator[SpeechServer]:
    with SpeechServer() as server:
        yield server


def state(name: str = "open", **more: Any) -> dict[str, Any]:
    plain = {"state": name, "device": "USB Mic", "listeners": 0, "held": False, "lost_samples": 0, "reason": ""}
    return {**plain, "hint": "", "real_time_factor": None, **more}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (state("closed", device=None), "closed; nobody listens"),
        (state("closed"), 'closed; nobody listens (last: "USB Mic")'),
        (state("opening", device=None, listeners=1), "opening, 1 listener"),
        (
            state(listeners=2, held=True, lost_samples=4000, real_time_factor=0.123),
            'open "USB Mic", 2 listeners, kept open, 0.25 s lost, real-time factor 0.12',
        ),
        (state("failed", device=None, reason="It is busy."), "failed: It is busy, 0 listeners"),
        (state("lost", reason="It is gone."), 'lost "USB Mic": It is gone, 0 listeners'),
    ],
)
def test_the_state_in_a_line(value: dict[str, Any], text: str) -> None:
    assert line(value) == text


@pytest.mark.parametrize(
    ("after", "status", "printed"),
    [
        (state(held=True), 0, 'microphone open "USB Mic", 0 listeners, kept open\n'),
        (
            state("failed", device=None, held=True, reason="There is none.", hint="Connect one."),
            1,
            "microphone failed: There is none, 0 listeners, kept open\n  Connect one.\n",
        ),
    ],
)
def test_start_waits_until_the_device_is_open_or_is_not(
    server: SpeechServer, tmp_path: Path, after: dict[str, Any], status: int, printed: str
) -> None:
    opening = state("opening", held=True)
    server.script["/v1/audio/live/start"] = [(200, opening)]
    server.script["/status"] = [(200, {"microphone": opening}), (200, {"microphone": after})]
    flags = ["--device", "2", "--model", "w", "--language", "de", "--prompt", "Küche"]
    done = edge_agent(tmp_path, "microphone", "start", *flags, "--port", server.port)
    assert (done.returncode, done.stdout) == (status, printed), done.stderr
    assert server.bodies[0] == {"device": "2", "model": "w", "language": "de", "prompt": "Küche"}
    assert len(server.paths) == 3


def test_stop_status_and_devices(server: SpeechServer, tmp_path: Path) -> None:
    device = {"index": 2, "name": "USB Mic", "channels": 1, "sample_rate_hz": 48_000, "default": True}
    server.script["/v1/audio/live/stop"] = [(200, state("closed"))]
    server.script["/status"] = [(200, {"microphone": state(listeners=1)})]
    server.script["/v1/audio/devices"] = [(200, {"devices": [device], "microphone": state()})]

    def microphone(*arguments: str) -> str:
        done = edge_agent(tmp_path, "microphone", *arguments, "--port", server.port)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    assert microphone("stop") == 'microphone closed; nobody listens (last: "USB Mic")\n'
    assert microphone("status") == 'microphone open "USB Mic", 1 listener\n'
    assert json.loads(microphone("status", "--json")) == state(listeners=1)
    assert microphone("devices") == (
        "INDEX  NAME     CHANNELS      RATE\n    2  USB Mic         1  48000 Hz  default\n"
    )
    assert json.loads(microphone("devices", "--json"))["devices"] == [device]
    server.script["/v1/audio/devices"] = [(200, {"devices": [], "microphone": state()})]
    assert "edge-agent doctor" in microphone("devices")


@pytest.mark.parametrize("action", ["start", "stop", "status", "devices"])
def test_no_daemon(tmp_path: Path, action: str) -> None:
    done = edge_agent(tmp_path, "microphone", action, "--port", "1")
    assert done.returncode == 1
    assert done.stderr == "edge-agent: No daemon answers at http://127.0.0.1:1.\n  Start it: edge-agent serve.\n"


@pytest.mark.parametrize("arguments", [[], ["open"], ["start", "--level"]])
def test_wrong_usage(tmp_path: Path, arguments: list[str]) -> None:
    assert edge_agent(tmp_path, "microphone", *arguments).returncode == 2
