"""The speech commands with a real daemon and a converted Whisper of random weights: what it writes means nothing."""

from __future__ import annotations

import json
import random
import subprocess
import wave
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.speech.software import check_software
from benchmarks.models.whisper_shapes import SHAPES, write_checkpoint
from benchmarks.speech.null_sink import NullSink, why_not
from convert import cli
from tests.commands.terminal_process import TerminalProcess
from tests.daemon_process import DaemonProcess, edge_agent, running_daemon

LENGTH_S = 3.0
SHARED = Path(__file__).resolve().parents[2] / ".." / "shared"
RECORDINGS = SHARED / "audio" / "commands"
SPOKEN = "001-slt.wav"
CHECKPOINT = SHARED / "models" / "whisper-commands-hf"


def nothing_to_listen_with() -> str:
    try:
        check_software()
    except Exception as error:
        return str(error)
    return ""


def converted(source: Path, folder: Path, name: str) -> Path:
    flags = ["--name", name, "--precision", "int8", "--out", str(folder / name), "--accept-quality"]
    assert cli.main(["whisper", str(source), *flags]) == 0
    return folder / name


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    folder = tmp_path_factory.mktemp("speech")
    artifact = converted(write_checkpoint(SHAPES["nano"], folder / "hf", seed=6), folder, "nano")
    noise = random.Random(1)
    with wave.open(str(folder / "noise.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        for block in range(round(LENGTH_S * 8)):  # as loud by turns as speech is: steady noise is not even tried
            loudest = 2_000 * (1 + block % 4)
            file.writeframes(array("h", [noise.randint(-loudest, loudest) for _ in range(2_000)]).tobytes())
    imported = edge_agent(folder, "models", "import", str(artifact))
    assert imported.returncode == 0, imported.stderr
    with running_daemon(folder) as daemon:
        yield daemon


def run(served: DaemonProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    return edge_agent(served.folder, *arguments)


def found(served: DaemonProcess, *arguments: str) -> Any:
    done = run(served, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_file_as_json_and_as_subtitles(served: DaemonProcess) -> None:
    value = found(served, "transcribe", "noise.wav", "--all-sound", "--words", "--language", "en")
    assert (value["file"], value["duration"]) == ("noise.wav", pytest.approx(LENGTH_S, abs=0.05))
    assert " ".join(one["text"].strip() for one in value["segments"]) == value["text"] != ""
    assert all(0 <= one["start"] <= one["end"] <= LENGTH_S + 0.1 for one in (*value["segments"], *value["words"]))
    done = run(served, "transcribe", "noise.wav", "--all-sound", "--vtt", "--language", "en")
    assert (done.returncode, done.stdout.startswith("WEBVTT\n\n00:00:")) == (0, True), done.stderr
    assert "noise.wav: 0:03 of sound, real-time factor" in done.stderr


def test_what_is_no_audio_does_not_stop_the_rest(served: DaemonProcess) -> None:
    (served.folder / "text.wav").write_text("hello")
    (served.folder / "empty.wav").write_bytes(b"")
    done = run(served, "transcribe", "text.wav", "empty.wav", "noise.wav", "--out", "texts", "--all-sound")
    assert (done.returncode, [path.name for path in (served.folder / "texts").iterdir()]) == (1, ["noise.txt"])
    assert "edge-agent: text.wav: This is no audio" in done.stderr
    assert "edge-agent: empty.wav: The audio file is empty." in done.stderr


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--model", "nope"], "There is no model called 'nope'"),
        (["--language", "klingon"], "There is no language 'klingon'"),
        (["--beam-size", "99"], "beam_size"),
    ],
)
def test_the_daemon_s_refusals_are_sentences(served: DaemonProcess, flags: list[str], words: str) -> None:
    done = run(served, "transcribe", "noise.wav", *flags)
    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_and_status_tell_about_speech(served: DaemonProcess) -> None:
    sound = found(served, "doctor")["sound"]
    assert sound["models"] == ["nano 1"]
    assert sound["held_by_daemon"] is None
    assert "mic       closed; nobody listens" in run(served, "status").stdout


@pytest.mark.skipif(bool(nothing_to_listen_with()), reason=nothing_to_listen_with() or "-")
def test_a_device_that_is_not_there(served: DaemonProcess) -> None:
    try:
        started = run(served, "microphone", "start", "--device", "no such device")
        assert (started.returncode, "failed: " in started.stdout) == (1, True), started.stderr
        assert found_state(served)["held"] is True
        assert "failed" in run(served, "status").stdout
        report = run(served, "doctor").stdout
        assert "the daemon has it" in " ".join(report.split())
    finally:
        stopped = run(served, "microphone", "stop")
    assert stopped.stdout == "microphone closed; nobody listens\n"


def found_state(served: DaemonProcess) -> Any:
    return served.get("/status")[1]["microphone"]


@pytest.mark.slow
@pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")
@pytest.mark.skipif(not (RECORDINGS.is_dir() and CHECKPOINT.is_dir()), reason=f"{SHARED} is not here")
def test_the_microphone_on_a_terminal(tmp_path: Path) -> None:
    """A sound server's null sink is the microphone, and what is played into it is written down."""
    environment = tmp_path / "sound"
    environment.mkdir()
    assert edge_agent(tmp_path, "models", "import", str(converted(CHECKPOINT, tmp_path, "commands"))).returncode == 0
    with NullSink(environment) as sink, running_daemon(tmp_path, extra=sink.environment) as daemon:
        assert "default" in [one["name"] for one in found(daemon, "microphone", "devices")["devices"]]
        flags = ["--device", "default", "--model", "commands", "--language", "en"]
        with TerminalProcess(tmp_path, "transcribe", "--mic", *flags, columns=80) as terminal:
            terminal.until('Listening to "default"')
            assert run(daemon, "microphone", "status").stdout.startswith('microphone open "default", 1 listener')
            sink.play(RECORDINGS / SPOKEN).wait(20)
            terminal.until("  Add eggs to the shopping list.")
            terminal.interrupt()
            assert terminal.end() == 0
            assert "1 utterance, " in terminal.screen.lines[-1]
        assert run(daemon, "microphone", "status").stdout.startswith("microphone closed")
        assert run(daemon, "microphone", "start").stdout.startswith('microphone open "default", 0 listeners, kept open')
        report = " ".join(run(daemon, "doctor").stdout.split())
        assert 'the daemon has it: open "default", 0 listeners, kept open; not measured' in report
        assert found_state(daemon)["openings"] == 1
        assert run(daemon, "microphone", "stop").returncode == 0
        measured = json.loads(edge_agent(tmp_path, "doctor", "--json", extra=sink.environment).stdout)["sound"]
        assert (measured["device"], measured["measured"]["verdict"]) == ("default", "silent")
