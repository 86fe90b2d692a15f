"""The device as commands see it: sound through a real decoding process, the microphone, a diagnosis, a restart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from agent import device as device_module
from agent.device import LocalDevice
from agent.errors import ModelNotFoundError, RequestError, UnavailableError
from agent.fleet.commands.device import Device, Recording
from agent.hardware import board as boards
from agent.hardware.profile import choose, load_profiles
from agent.runtime.wire.transcription import Transcribe
from tests.api.audio_files import echo, noise
from tests.api.scripted_runtime import ScriptedRuntime
from tests.speech.scripted_listening import Room, ScriptedEngine, listening_of

RECORDING = Path(__file__).resolve().parents[2] / "shared" / "audio" / "commands" / "001-slt.wav"


class ScriptedDaemon:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def about(self) -> dict[str, Any]:
        return {"url": "http://127.0.0.1:1", "mqtt": None}

    def find_transcriber(self, model: str | None) -> str:
        if model not in (None, "whisper"):
            raise ModelNotFoundError("no such model")
        return "whisper"

    async def models_changed(self) -> None:
        self.told.append("models")

    def restart(self) -> None:
        self.told.append("restart")


class ScriptedUpdates:
    """Notes what is asked for; every update ends well."""

    def __init__(self, told: list[str]) -> None:
        self._told = told

    async def update(
        self, name: str, version: str | None = None, *, origin: str, policy: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        self._told.append(f"{origin}: {name} {version} {policy}")
        return {"id": 7, "state": "wanted"}

    async def outcome(self, id: int) -> dict[str, Any]:
        return {"id": id, "state": "committed"}


@pytest.fixture
def daemon() -> ScriptedDaemon:
    return ScriptedDaemon()


@pytest.fixture
def runtime() -> ScriptedRuntime:
    runtime = ScriptedRuntime()
    runtime.hear(echo)
    return runtime


@pytest.fixture
def device(daemon: ScriptedDaemon, runtime: ScriptedRuntime, tmp_path: Path) -> Device:
    board = boards.detect()
    match = choose(board, load_profiles(), None)
    return LocalDevice(
        daemon,
        runtime,  # type: ignore[arg-type]
        listening_of(Room(), ScriptedEngine()),
        board=board,
        match=match,
        profile=match.profile.resolve(board, {}, source="the test"),
        state_dir=tmp_path,
        updates=ScriptedUpdates(daemon.told),
    )


async def pieces(device: Device, **fields: Any) -> list[Any]:
    return [piece async for piece in device.transcribe(Recording(**{"audio": noise(2.048), **fields}))]


async def test_a_recording_becomes_text_with_its_times(device: Device, runtime: ScriptedRuntime) -> None:
    if not RECORDING.exists():
        pytest.skip(f"{RECORDING} is not here")
    said = {"audio": RECORDING.read_bytes(), "language": "german", "prompt": "before", "translate": True}
    (piece,) = json.loads(json.dumps(await pieces(device, **said)))
    assert piece["text"].startswith("some ")
    assert 0.0 <= piece["start_s"] < piece["end_s"]
    assert piece["language"] == "de"
    assert [segment["text"] for segment in piece["segments"]] == [piece["text"]]
    (request,) = runtime.requests
    assert isinstance(request, Transcribe)
    assert (request.language, request.prompt, request.task) == ("de", "before", "translate")
    assert runtime.submissions[0][:2] == ("whisper", "mqtt")


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"audio": b"no sound"}, RequestError),
        ({"language": "klingon"}, RequestError),
        ({"model": "other"}, ModelNotFoundError),
    ],
)
async def test_what_cannot_be_transcribed_is_an_error(
    device: Device, fields: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await pieces(device, **fields)


async def test_the_microphone_is_opened_and_closed(device: Device) -> None:
    state = await device.microphone(True)
    assert state["held"] is True
    assert json.loads(json.dumps(state)) == state
    assert (await device.microphone(False))["state"] == "closed"


async def test_a_diagnosis_is_ready_for_json(device: Device) -> None:
    found = json.loads(json.dumps(await device.diagnose()))
    assert found["doctor"]["profile"]["name"]
    assert found["status"]["runtime"]["models"]
    assert found["status"]["url"] == "http://127.0.0.1:1"


async def test_the_daemon_is_told_what_concerns_it(device: Device, daemon: ScriptedDaemon) -> None:
    await device.models_changed()
    assert await device.update_model("m", "2", {"urgent": True}) == {"id": 7, "state": "committed"}
    await device.restart("agent")
    assert daemon.told == ["models", "command: m 2 {'urgent': True}", "restart"]


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (("sh", "-c", "echo Access denied >&2; exit 4"), "Access denied"),
        (("/nowhere/systemctl",), "cannot be run"),
        (("true",), None),
    ],
)
async def test_a_reboot_is_asked_for_and_a_refusal_is_said(
    device: Device, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], complaint: str | None
) -> None:
    monkeypatch.setattr(device_module, "REBOOT", command)
    if complaint is None:
        await device.restart("device")
    else:
        with pytest.raises(UnavailableError, match=complaint):
            await device.restart("device")
