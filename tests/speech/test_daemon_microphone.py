"""A real daemon, a real model and a real sound server: what is played into the microphone comes out as text."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.speech.null_sink import NullSink, why_not
from tests.daemon_process import DaemonProcess, edge_agent, environment_for, running_daemon

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
CHECKPOINT = SHARED / "models" / "whisper-commands-hf"
RECORDINGS = SHARED / "audio" / "commands"
SPOKEN, TEXT = "011-slt.wav", "Switch on the speaker in the garage."

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "-"),
    pytest.mark.skipif(not (CHECKPOINT.is_dir() and RECORDINGS.is_dir()), reason="needs the model in ../shared"),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder with the converted model in it."""
    folder = tmp_path_factory.mktemp("models")
    artifact = folder / "artifact"
    convert = [sys.executable, "-m", "convert.cli", "whisper", str(CHECKPOINT), "--out", str(artifact)]
    subprocess.run([*convert, "--accept-quality"], check=True, capture_output=True, env=environment_for(folder))
    imported = edge_agent(folder, "models", "import", str(artifact))
    assert imported.returncode == 0, imported.stderr
    return folder / "state"


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[NullSink]:
    with NullSink(tmp_path) as sink:
        yield sink


@pytest.fixture
def daemon(models: Path, sink: NullSink, tmp_path: Path) -> Iterator[DaemonProcess]:
    shutil.copytree(models, tmp_path / "state", symlinks=True)
    with running_daemon(tmp_path, extra=sink.environment) as daemon:
        yield daemon


class Live:
    """`GET /v1/audio/live?level=0`."""

    def __init__(self, daemon: DaemonProcess) -> None:
        self._connection = daemon.connect()
        self._connection.request("GET", "/v1/audio/live?level=0")
        self._response = self._connection.getresponse()
        assert self._response.status == 200

    def __enter__(self) -> Live:
        return self

    def __exit__(self, *error: object) -> None:
        self._response.close()
        self._connection.close()

    def events(self) -> Iterator[dict[str, Any]]:
        while line := self._response.readline():
            if line.startswith(b"data: "):
                yield json.loads(line[6:])

    def until(self, kind: str, **fields: Any) -> list[dict[str, Any]]:
        found = []
        for event in self.events():
            found.append(event)
            if event["type"] == kind and fields.items() <= event.items():
                return found
        raise AssertionError(f"the stream ended: {found}")


def recorders(daemon: DaemonProcess) -> list[int]:
    """The daemon's recording processes."""
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdigit() and b"agent.speech.capture" in (process / "cmdline").read_bytes():
                parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
                found += [int(process.name)] if int(parent) == daemon.process.pid else []
    return found


def microphone(daemon: DaemonProcess) -> dict[str, Any]:
    state: dict[str, Any] = daemon.get("/status")[1]["microphone"]
    return state


def test_what_is_said_comes_out_as_text_and_the_microphone_is_closed_afterwards(
    daemon: DaemonProcess, sink: NullSink
) -> None:
    devices = daemon.get("/v1/audio/devices")[1]
    assert "default" in [device["name"] for device in devices["devices"]]
    assert devices["microphone"]["state"] == "closed"
    with Live(daemon) as one, Live(daemon) as other:
        one.until("device", state="open")
        player = sink.play(RECORDINGS / SPOKEN)
        said = one.until("final")
        assert said[-1]["text"] == TEXT
        assert {"speech_start", "partial", "speech_end"} <= {event["type"] for event in said}
        assert other.until("final")[-1] == said[-1]
        player.wait()
        state = microphone(daemon)
        assert (state["state"], state["listeners"], state["lost_samples"]) == ("open", 2, 0)
        assert 0 < state["real_time_factor"] < 1
        assert len(recorders(daemon)) == 1
    give_up = time.monotonic() + 10
    while recorders(daemon) and time.monotonic() < give_up:
        time.sleep(0.02)
    assert recorders(daemon) == []
    assert microphone(daemon)["state"] == "closed"


def test_it_goes_on_when_the_recorder_and_the_worker_are_killed(daemon: DaemonProcess, sink: NullSink) -> None:
    status, state = daemon.request("POST", "/v1/audio/live/start", {"device": "default", "language": "en"})
    assert (status, state["held"]) == (200, True)
    with Live(daemon) as live:
        live.until("device", state="open")
        os.kill(recorders(daemon)[0], signal.SIGKILL)
        told = live.until("lost")
        assert [event["state"] for event in told if event["type"] == "device"] == ["lost", "opening", "open"]
        assert "SIGKILL" in told[0]["reason"]
        os.kill(daemon.get("/status")[1]["runtime"]["models"][0]["pid"], signal.SIGKILL)
        player = sink.play(RECORDINGS / SPOKEN)
        assert live.until("final")[-1]["text"] == TEXT
        player.wait()
        assert daemon.get("/status")[1]["runtime"]["models"][0]["crashes"] == 1
        assert daemon.request("POST", "/v1/audio/live/stop")[1]["state"] == "closed"
        assert list(live.events())[-1]["state"] == "closed"
        assert recorders(daemon) == []


def test_a_stop_signal_ends_the_streams_long_before_the_grace_is_over(daemon: DaemonProcess, sink: NullSink) -> None:
    with Live(daemon) as live:
        live.until("device", state="open")
        player = sink.play(RECORDINGS / SPOKEN)
        live.until("partial")
        daemon.signal(signal.SIGTERM)
        assert list(live.events())[-1]["state"] == "closed"
        assert daemon.wait(5) == 0  # the grace is 10 s
        assert "Traceback" not in daemon.log()
        player.wait()
