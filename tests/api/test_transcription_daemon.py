"""Files through everything: a real daemon, the decoder with voice activity, a real worker, real models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.api.audio_files import multipart, noise
from tests.conftest import SHARED
from tests.convert.whisper.small_whisper import config, write_whisper
from tests.convert.whisper.test_command import run as convert
from tests.daemon_process import DaemonProcess, edge_agent, running_daemon
from tests.engines.onnx.whisper.tiny import letters

CHECKPOINT, RECORDINGS = SHARED / "models" / "whisper-commands-hf", SHARED / "audio"
trained = pytest.mark.skipif(not CHECKPOINT.is_dir(), reason="needs the checkpoint and the recordings in ../shared")
FILE = 'name="file"; filename="a.wav"'
BOUNDARY = {"Content-Type": "multipart/form-data; boundary=edge"}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """Serves `random`, a Whisper of random numbers, and `commands`, a trained one where it is at hand."""
    folder = tmp_path_factory.mktemp("daemon")
    settings = config(num_mel_bins=80, max_source_positions=1500, max_target_positions=24)
    sources = {"random": write_whisper(folder / "hf", settings=settings, files={"tokenizer.json": letters()})}
    if CHECKPOINT.is_dir():
        sources["commands"] = CHECKPOINT
    for name, source in sources.items():
        assert convert(source, "--precision", "int8", "--out", folder / name, "--name", name, "--accept-quality") == 0
        done = edge_agent(folder, "models", "import", str(folder / name))
        assert done.returncode == 0, done.stderr
    with running_daemon(folder) as running:
        yield running


def ask(daemon: DaemonProcess, path: str, sound: bytes, **fields: str) -> tuple[int, str]:
    parts = [(f'name="{name}"', value.encode()) for name, value in fields.items()]
    connection = daemon.connect()
    try:
        connection.request("POST", f"/v1/audio/{path}", multipart((FILE, sound), *parts), BOUNDARY)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize("response_format", ["json", "text", "srt", "vtt", "verbose_json"])
def test_a_model_of_random_numbers_answers_in_every_format(daemon: DaemonProcess, response_format: str) -> None:
    fields = {"model": "random", "response_format": response_format, "vad_filter": "false", "temperature": "1"}
    status, text = ask(daemon, "transcriptions", noise(3.0), **fields)
    assert status == 200, text
    if response_format == "verbose_json":
        verbose: dict[str, Any] = json.loads(text)
        assert verbose["duration"] == pytest.approx(3.0, abs=0.05)
        assert all(0 <= one["start"] <= one["end"] <= 3.1 for one in verbose["segments"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"language": "finnish"}, "does not know the language 'fi'. It knows de, en."),
        ({"timestamp_granularities[]": "word", "response_format": "verbose_json", "beam_size": "9"}, "from 1 to 5"),
    ],
)
def test_what_the_model_cannot_do_is_refused(daemon: DaemonProcess, fields: dict[str, str], message: str) -> None:
    status, text = ask(daemon, "transcriptions", noise(2.0), model="random", vad_filter="false", **fields)
    assert status == 400
    assert message in json.loads(text)["error"]["message"]


@trained
@pytest.mark.parametrize("path", ["transcriptions", "translations"])
def test_a_command_is_understood(daemon: DaemonProcess, path: str) -> None:
    sound = (RECORDINGS / "commands" / "003-en-us_anika.wav").read_bytes()
    status, text = ask(daemon, path, sound, model="commands", language="English")
    assert (status, json.loads(text)["text"]) == (200, "Set the nursery lights to fifty percent.")


@trained
def test_silence_and_noise_between_commands_say_nothing(daemon: DaemonProcess) -> None:
    listed = json.loads((RECORDINGS / "live" / "track.json").read_text())
    spoken = [one for one in listed if "text" in one]
    sound = (RECORDINGS / "live" / "track.flac").read_bytes()
    status, text = ask(daemon, "transcriptions", sound, model="commands", response_format="verbose_json")
    assert status == 200
    verbose = json.loads(text)
    assert verbose["language"] == "english"
    assert "damage" not in verbose
    for one in verbose["segments"]:
        assert any(one["start"] < said["end"] and said["start"] < one["end"] for said in spoken)
    right = sum(said["text"] in verbose["text"] for said in spoken)
    assert right >= 0.75 * len(spoken)
