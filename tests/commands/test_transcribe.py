"""`edge-agent transcribe FILE...` against a server that keeps to the script."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from agent.commands.transcripts import places
from tests.commands.speech_server import SpeechServer, Step
from tests.commands.terminal_process import TerminalProcess
from tests.daemon_process import edge_agent, environment_for

ROUTE = "/v1/audio/transcriptions"
SOUND = bytes(range(256)) * 40 + b"\r\n\r\n--\r\n"


@pytest.fixture
def server() -> Iterator[SpeechServer]:
    with SpeechServer() as server:
        server.script[ROUTE] = [said("Turn on the light.", "Thank you.")]
        yield server


def delta(text: str, start_s: float, end_s: float) -> dict[str, Any]:
    segment = {"id": 0, "start": start_s, "end": end_s, "text": f" {text}"}
    event = {"type": "transcript.text.delta", "delta": text, "start": start_s, "end": end_s}
    return {**event, "position": end_s, "duration": 10.0, "segments": [segment]}


def done(*texts: str, **more: Any) -> dict[str, Any]:
    segments = [{"id": n, "start": 2.0 * n, "end": 2.0 * n + 1.5, "text": f" {text}"} for n, text in enumerate(texts)]
    words = [
        {"word": word, "start": 2.0 * n, "end": 2.0 * n + 0.5}
        for n, text in enumerate(texts)
        for word in text.split()[:2]
    ]
    answer = {"type": "transcript.text.done", "text": " ".join(texts), "language": "english", "duration": 10.0}
    return {**answer, "segments": segments, "words": words, **more}


def said(*texts: str, **more: Any) -> list[Step]:
    return [*(delta(text, 2.0 * n, 2.0 * n + 1.5) for n, text in enumerate(texts)), done(*texts, **more)]


def error(code: str, message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "x", "param": None, "code": code}}


def recordings(folder: Path, *names: str) -> list[str]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(SOUND)
    return list(names)


def transcribe(folder: Path, server: SpeechServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    return edge_agent(folder, "transcribe", *arguments, "--port", server.port)


def test_one_file_is_text_on_standard_output(server: SpeechServer, tmp_path: Path) -> None:
    result = transcribe(tmp_path, server, *recordings(tmp_path, "kitchen.wav"))
    assert (result.returncode, result.stdout) == (0, "Turn on the light.\nThank you.\n")
    assert re.fullmatch(r"kitchen\.wav: 0:10 of sound, real-time factor \d\.\d\d\n", result.stderr)


def test_the_flags_and_the_file_arrive(server: SpeechServer, tmp_path: Path) -> None:
    server.script["/v1/audio/translations"] = [said("Hello")]
    (file,) = recordings(tmp_path, 'a "b".wav')
    flags = ["--model", "m", "--language", "de", "--prompt", "Küche", "--hotwords", "Wemo"]
    flags += ["--beam-size", "5", "--words", "--all-sound"]
    assert transcribe(tmp_path, server, file, "--translate", *flags).returncode == 0
    assert server.forms == [
        {
            "response_format": ["verbose_json"],
            "stream": ["true"],
            "model": ["m"],
            "language": ["de"],
            "prompt": ["Küche"],
            "hotwords": ["Wemo"],
            "beam_size": ["5"],
            "vad_filter": ["false"],
            "timestamp_granularities[]": ["segment", "word"],
            "file": [("a %22b%22.wav", SOUND)],
        }
    ]


SRT = "1\n00:00:00,000 --> 00:00:01,500\nTurn on the light.\n\n2\n00:00:02,000 --> 00:00:03,500\nThank you.\n\n"


VTT = "WEBVTT\n\n" + "".join(
    f"00:00:0{n}.000 --> 00:00:0{n + 1}.500\n{text}\n\n" for n, text in ((0, "Turn on the light."), (2, "Thank you."))
)
WORDS = [("Turn", 0), ("on", 0), ("Thank", 2), ("you.", 2)]
WORDS_SRT = "".join(
    f"{number}\n00:00:0{n},000 --> 00:00:0{n},500\n{word}\n\n" for number, (word, n) in enumerate(WORDS, 1)
)


@pytest.mark.parametrize(
    ("flags", "printed"),
    [
        (["--srt"], SRT),
        (["--vtt"], VTT),
        (["--words"], "".join(f"{n}.00\t{n}.50\t{word}\n" for word, n in WORDS)),
        (["--words", "--srt"], WORDS_SRT),
    ],
)
def test_formats(server: SpeechServer, tmp_path: Path, flags: list[str], printed: str) -> None:
    result = transcribe(tmp_path, server, *recordings(tmp_path, "a.wav"), *flags)
    assert (result.returncode, result.stdout) == (0, printed)


def test_json_of_one_file_is_an_object_and_of_several_a_list(server: SpeechServer, tmp_path: Path) -> None:
    one = json.loads(transcribe(tmp_path, server, *recordings(tmp_path, "a.wav"), "--json").stdout)
    assert (one["file"], one["text"], one["duration"]) == ("a.wav", "Turn on the light. Thank you.", 10.0)
    assert [segment["start"] for segment in one["segments"]] == [0.0, 2.0]
    assert one["elapsed_s"] > 0
    result = transcribe(tmp_path, server, *recordings(tmp_path, "a.wav", "b.wav"), "none.wav", "--json")
    assert result.returncode == 1
    values = json.loads(result.stdout)
    assert [value["file"] for value in values] == ["a.wav", "b.wav", "none.wav"]
    assert values[2]["error"]["message"] == "none.wav cannot be read: No such file or directory."


def test_standard_input_of_a_pipe_is_read(server: SpeechServer, tmp_path: Path) -> None:
    recordings(tmp_path, "a.wav")
    command = f"cat a.wav | {sys.executable} -m agent.cli transcribe - --port {server.port}"
    result = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, timeout=60, cwd=tmp_path, env=environment_for(tmp_path)
    )
    assert (result.returncode, result.stdout) == (0, "Turn on the light.\nThank you.\n")
    assert server.forms[0]["file"] == [("recording", SOUND)]


def test_several_files_get_headings_and_one_that_fails_does_not_stop_the_others(
    server: SpeechServer, tmp_path: Path
) -> None:
    files = recordings(tmp_path, "a.wav", "b.jpg", "c.wav")
    server.script[ROUTE] = [said("One."), (400, error("invalid_request", "This is no audio.")), said("Three.")]
    result = transcribe(tmp_path, server, *files)
    assert result.returncode == 1
    assert result.stdout == "==> a.wav <==\nOne.\n\n==> c.wav <==\nThree.\n\n"
    assert "edge-agent: b.jpg: This is no audio.\n" in result.stderr


def test_files_in_a_folder(server: SpeechServer, tmp_path: Path) -> None:
    files = recordings(tmp_path, "a.wav", "talks/a.wav", "b.mp3")
    result = transcribe(tmp_path, server, *files, "--srt", "--out", "texts")
    assert (result.returncode, result.stdout) == (0, "")
    assert sorted(path.name for path in (tmp_path / "texts").iterdir()) == ["a.wav-2.srt", "a.wav.srt", "b.srt"]
    assert (tmp_path / "texts" / "b.srt").read_text() == SRT
    assert "b.mp3: 0:10 of sound" in result.stderr
    assert "-> texts/b.srt\n" in result.stderr


@pytest.mark.parametrize(
    ("names", "files"),
    [
        (["x.wav", "y.mp3"], ["x.txt", "y.txt"]),
        (["x.wav", "x.mp3"], ["x.wav.txt", "x.mp3.txt"]),
        (["1/x.wav", "2/X.wav", "-"], ["x.wav.txt", "X.wav-2.txt", "stdin.txt"]),
        ([".hidden", "no-suffix"], [".hidden.txt", "no-suffix.txt"]),
    ],
)
def test_no_two_recordings_share_a_file(names: list[str], files: list[str]) -> None:
    assert [path.name for path in places(names, Path("out"), "txt").values()] == files


def test_a_recording_is_never_written_over(server: SpeechServer, tmp_path: Path) -> None:
    (file,) = recordings(tmp_path, "a.txt")
    result = transcribe(tmp_path, server, file, "--out", ".")
    assert (result.returncode, (tmp_path / "a.txt").read_bytes()) == (1, SOUND)
    assert "would be written over" in result.stderr


def test_what_would_fail_for_every_file_ends_the_whole(server: SpeechServer, tmp_path: Path) -> None:
    server.script[ROUTE] = [(404, error("model_not_found", "There is no model called 'm'."))]
    result = transcribe(tmp_path, server, *recordings(tmp_path, "a.wav", "b.wav"), "--model", "m")
    assert (result.returncode, len(server.forms)) == (1, 1)
    assert result.stderr == "edge-agent: There is no model called 'm'.\n"


def test_a_full_queue_is_asked_again(server: SpeechServer, tmp_path: Path) -> None:
    server.script[ROUTE] = [(429, error("queue_full", "Full.")), said("At last.")]
    result = transcribe(tmp_path, server, *recordings(tmp_path, "a.wav"))
    assert (result.returncode, result.stdout, len(server.forms)) == (0, "At last.\n", 2)


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([delta("Turn", 0.0, 1.0)], "closed the connection in mid-answer"),
        ([delta("Turn", 0.0, 1.0), error("worker_crashed", "The worker died.")], "The worker died."),
    ],
)
def test_an_answer_that_breaks_off_is_an_error(
    server: SpeechServer, tmp_path: Path, steps: list[Mapping[str, Any]], words: str
) -> None:
    server.script[ROUTE] = [list(steps)]
    result = transcribe(tmp_path, server, *recordings(tmp_path, "a.wav"), "--out", "texts")
    assert (result.returncode, words in result.stderr) == (1, True)
    assert not (tmp_path / "texts").exists()


def test_damage_is_told_and_the_rest_is_there(server: SpeechServer, tmp_path: Path) -> None:
    server.script[ROUTE] = [said("Half.", damage="The file breaks off at 0:10.")]
    result = transcribe(tmp_path, server, *recordings(tmp_path, "a.mp3"))
    assert (result.returncode, result.stdout) == (0, "Half.\n")
    assert "The file breaks off at 0:10." in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "at least one recording"),
        (["a.wav", "--mic"], "not both"),
        (["-", "-"], "only once"),
        (["a.wav", "--srt", "--vtt"], "not allowed with"),
        (["a.wav", "--device", "x"], "--device belongs to --mic"),
        (["--mic", "--srt", "--words", "--out", "x"], "--words, --out, --srt cannot be used with --mic"),
        (["a.wav", "--beam-size", "many"], "invalid int"),
    ],
)
def test_wrong_usage(tmp_path: Path, arguments: list[str], words: str) -> None:
    result = edge_agent(tmp_path, "transcribe", *arguments)
    assert (result.returncode, words in result.stderr) == (2, True), result.stderr


def test_no_daemon(tmp_path: Path) -> None:
    result = edge_agent(tmp_path, "transcribe", *recordings(tmp_path, "a.wav", "b.wav"), "--port", "1")
    assert (result.returncode, result.stderr.count("No daemon answers")) == (1, 1)


@pytest.mark.parametrize(
    ("flags", "printed"),
    [([], "Turn on\n"), (["--srt"], "1\n00:00:00,000 --> 00:00:04,000\nTurn on\n\n"), (["--out", "texts"], "")],
)
def test_ctrl_c_prints_what_was_done(server: SpeechServer, tmp_path: Path, flags: list[str], printed: str) -> None:
    hold = threading.Event()
    server.script[ROUTE] = [[delta("Turn on", 0.0, 4.0), hold]]
    (file,) = recordings(tmp_path, "a.wav")
    with TerminalProcess(tmp_path, "transcribe", file, *flags, "--port", server.port) as terminal:
        terminal.until("0:04 of 0:10")
        terminal.interrupt()
        assert terminal.end() == -signal.SIGINT
    shown = "\n".join(terminal.screen.lines)
    assert printed.strip() in shown
    assert terminal.screen.lines[-1] == "edge-agent: stopped in recording at 0:04."
    assert not (tmp_path / "texts").exists()


@pytest.mark.parametrize(
    ("columns", "bar"),
    [
        (80, r"a\.wav \[=+ +\] 0:04 of 0:10, real-time factor \d\.\d\d(, \d+ s left)?"),
        (40, r"a\.wav \[=+ +\] 0:04 of 0:10, RTF \d\.\d\d"),
        (24, r"a\.wav \[=+ +\] 0:04"),
    ],
)
def test_the_bar_fits_the_terminal_and_goes_away(server: SpeechServer, tmp_path: Path, columns: int, bar: str) -> None:
    hold = threading.Event()
    server.script[ROUTE] = [[delta("Turn on", 0.0, 4.0), hold, *said("Turn on", "it")[1:]]]
    (file,) = recordings(tmp_path, "a.wav")
    with TerminalProcess(tmp_path, "transcribe", file, "--port", server.port, columns=columns) as terminal:
        lines = terminal.until("0:04")
        assert lines[0] == "Turn on"
        assert re.fullmatch(bar, lines[1]), lines
        hold.set()
        assert terminal.end() == 0
    assert terminal.screen.lines[:2] == ["Turn on", "it"]
    assert "[" not in "".join(terminal.screen.lines)
