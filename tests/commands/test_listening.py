"""`edge-agent transcribe --mic` against a server that keeps to the script, on terminals of several widths."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.commands.speech_server import SpeechServer, Step
from tests.commands.terminal_process import TerminalProcess
from tests.daemon_process import edge_agent

ROUTE = "/v1/audio/live"
NOON = 1_700_000_000 - 1_700_000_000 % 86_400 + 43_200.0


@pytest.fixture
def server() -> Iterator[SpeechServer]:
    with SpeechServer() as server:
        yield server


def device(state: str, reason: str = "", hint: str = "", retry_s: float | None = None) -> dict[str, Any]:
    event = {"type": "device", "at_s": 0.0, "time": NOON, "state": state, "name": "USB Mic"}
    return {**event, "reason": reason, "hint": hint, "retry_s": retry_s}


def level(rms_dbfs: float, peak_dbfs: float = -10.0) -> dict[str, Any]:
    return {"type": "level", "at_s": 0.1, "time": NOON, "rms_dbfs": rms_dbfs, "peak_dbfs": peak_dbfs, "speech": False}


def partial(text: str, committed: str, segment: int = 0) -> dict[str, Any]:
    event = {"type": "partial", "segment": segment, "text": text, "committed": committed}
    return {**event, "start_s": 0.0, "end_s": 1.0, "time": NOON, "latency_s": 0.1}


def final(text: str, segment: int = 0, latency_s: float = 0.3) -> dict[str, Any]:
    event = {"type": "final", "segment": segment, "text": text, "start_s": 0.0, "end_s": 2.5, "time": NOON}
    return {**event, "latency_s": latency_s, "pass_s": 0.1, "language": "en", "segments": [], "reason": "silence"}


def lost(samples: int) -> dict[str, Any]:
    return {"type": "lost", "at_s": 1.0, "time": NOON, "samples": samples, "reason": "overrun"}


def overload(segment: int) -> dict[str, Any]:
    return {"type": "overload", "segment": segment, "start_s": 61.0, "end_s": 64.0, "time": NOON, "queued_s": 60.0}


def failure(segment: int | None) -> dict[str, Any]:
    event = {"type": "error", "segment": segment, "start_s": 5.0, "end_s": 7.0, "time": NOON}
    return {**event, "code": "x", "message": "The worker died.", "hint": "See its log."}


OPEN, CLOSED = device("open"), device("closed")
LONG = "turn on the kitchen light and after that the lamp in the hall"

GOLDEN = {
    80: {
        "begun": [
            'Listening to "USB Mic". Ctrl-C stops.',
            " ▄ turn on the kitchen light and after that the lamp in the hall",
        ],
        "ended": [
            'Listening to "USB Mic". Ctrl-C stops.',
            "12:00:00  turn on the kitchen light and after that the lamp in the hall",
            " ▄",
        ],
    },
    40: {
        "begun": [
            'Listening to "USB Mic". Ctrl-C stops.',
            " ▄ turn on the kitchen light and after",
            "   that the lamp in the hall",
        ],
        "ended": [
            'Listening to "USB Mic". Ctrl-C stops.',
            "12:00:00  turn on the kitchen light and",
            "          after that the lamp in the",
            "          hall",
            " ▄",
        ],
    },
    20: {
        "begun": [
            'Listening to "USB Mi',
            'c". Ctrl-C stops.',
            " ▄ turn on the",
            "   kitchen light",
            "   and after that",
            "   the lamp in the",
            "   hall",
        ],
        "ended": [
            'Listening to "USB Mi',
            'c". Ctrl-C stops.',
            "12:00:00",
            "turn on the kitchen",
            "light and after",
            "that the lamp in",
            "the hall",
            " ▄",
        ],
    },
}  # fmt: skip


@pytest.mark.parametrize("columns", GOLDEN)
def test_partials_are_rewritten_in_place_and_finals_stay(server: SpeechServer, tmp_path: Path, columns: int) -> None:
    end, stop = threading.Event(), threading.Event()
    server.script[ROUTE] = [
        [OPEN, level(-30.0), partial("turn", ""), partial(LONG, "turn on the"), end, final(LONG), stop]
    ]
    with listening(tmp_path, server, columns=columns) as terminal:
        assert terminal.until(lambda lines: lines == GOLDEN[columns]["begun"])
        assert terminal.screen.dim == LONG.removeprefix("turn on the ")
        assert (terminal.screen.column, terminal.screen.rows[terminal.screen.row][0].text) == (0, " ")
        end.set()
        assert terminal.until(lambda lines: lines == GOLDEN[columns]["ended"])
        terminal.interrupt()
        assert terminal.end() == 0
        summary = "1 utterance, 2.5 s of speech, no samples lost, median latency 0.30 s."
        assert "".join(terminal.screen.lines).endswith(summary)


def test_the_meter_moves_without_drawing_the_text_again(server: SpeechServer, tmp_path: Path) -> None:
    one, two, stop = threading.Event(), threading.Event(), threading.Event()
    server.script[ROUTE] = [
        [OPEN, level(-30.0), partial("lights", ""), one, level(-120.0), level(-5.0, 0.0), two, level(-1.0, -0.5), stop]
    ]
    with listening(tmp_path, server) as terminal:
        terminal.until(" ▄ lights")
        drawn = terminal.raw.count("lights")
        one.set()
        terminal.until(" ! lights")  # clipping
        two.set()
        terminal.until(" █ lights")
        assert terminal.raw.count("lights") == drawn


def test_a_terminal_that_changes_its_width_is_drawn_anew(server: SpeechServer, tmp_path: Path) -> None:
    resized, stop = threading.Event(), threading.Event()
    server.script[ROUTE] = [[OPEN, level(-30.0), partial(LONG, ""), resized, level(-30.0), stop]]
    with listening(tmp_path, server, columns=80) as terminal:
        terminal.until(lambda lines: lines == GOLDEN[80]["begun"])
        terminal.resize(40)
        terminal.screen.columns = 40
        resized.set()
        assert terminal.until(lambda lines: lines == GOLDEN[40]["begun"])


@pytest.mark.parametrize(
    ("columns", "text", "rows"),
    [
        (20, "電気をつけて、テレビを消してください", [" ▄ 電気をつけて、テ", "   レビを消してくだ", "   さい"]),
        (12, "abcdefghijklmnopq", [" ▄ abcdefgh", "   ijklmnop", "   q"]),
        (40, "clear \x1b[2J the\nscreen", [" ▄ clear \\x1b[2J the\\nscreen"]),
        (40, "cafe\u0301 \u202eabc", [" ▄ cafe\u0301 \\u202eabc"]),
    ],
)
def test_wide_long_and_hostile_text(
    server: SpeechServer, tmp_path: Path, columns: int, text: str, rows: list[str]
) -> None:
    server.script[ROUTE] = [[OPEN, level(-30.0), partial(text, ""), threading.Event()]]
    with listening(tmp_path, server, columns=columns) as terminal:
        assert terminal.until(lambda lines: lines[-len(rows) :] == rows)


def test_a_text_higher_than_the_terminal_shows_its_end(server: SpeechServer, tmp_path: Path) -> None:
    text = " ".join(f"word{n:02}" for n in range(30))
    server.script[ROUTE] = [[OPEN, level(-30.0), partial(text, ""), threading.Event()]]
    with listening(tmp_path, server, columns=20, lines=5) as terminal:
        lines = terminal.until("word29")
        assert lines[2:] == [" ▄ word22 word23", "   word24 word25", "   word26 word27", "   word28 word29"]


def test_two_segments_at_once_and_one_that_is_taken_back(server: SpeechServer, tmp_path: Path) -> None:
    one, two, stop = threading.Event(), threading.Event(), threading.Event()
    first: list[Step] = [OPEN, level(-30.0), partial("first", "", 0), partial("second", "", 1), one]
    server.script[ROUTE] = [[*first, final("", 0), two, final("Second.", 1), stop]]
    with listening(tmp_path, server) as terminal:
        terminal.until(lambda lines: lines[1:] == [" ▄ first", "   second"])
        one.set()
        terminal.until(lambda lines: lines[1:] == [" ▄ second"])
        two.set()
        terminal.until(lambda lines: lines[1:] == ["12:00:00  Second.", " ▄"])


def test_what_was_not_finished_stays_on_ctrl_c(server: SpeechServer, tmp_path: Path) -> None:
    server.script[ROUTE] = [[OPEN, level(-30.0), partial("turn on", ""), threading.Event()]]
    with listening(tmp_path, server) as terminal:
        terminal.until(" ▄ turn on")
        terminal.interrupt()
        assert terminal.end() == 0
        assert terminal.screen.lines[-2:] == ["   turn on", "0 utterances, 0.0 s of speech, no samples lost."]


def test_trouble_is_told_above_the_text(server: SpeechServer, tmp_path: Path) -> None:
    gone = device("lost", "The microphone is gone.", "Is it unplugged?", 0.1)
    failed = device("failed", "No such device.", "", 1.5)
    steps: list[Step] = [
        device("opening"),
        OPEN,
        lost(4000),
        gone,
        device("opening"),
        failed,
        device("opening"),
        failed,
    ]
    steps += [device("opening"), OPEN, overload(3), failure(4), failure(None), level(-30.0), threading.Event()]
    server.script[ROUTE] = [steps]
    with listening(tmp_path, server, columns=100) as terminal:
        assert terminal.until(" ▄") == [
            'Listening to "USB Mic". Ctrl-C stops.',
            "Lost 0.25 s of sound (4000 samples): this machine was too busy to take it.",
            "The microphone is gone. Is it unplugged? It is tried again until it works.",
            "No such device. It is tried again until it works.",
            'Listening to "USB Mic". Ctrl-C stops.',
            "Speech of 3.0 s at 1:01 was not transcribed: 60 s of speech were waiting already.",
            "Speech of 2.0 s at 0:05 could not be transcribed: The worker died. See its log.",
            "The worker died. See its log.",
            " ▄",
        ]
        terminal.interrupt()
        assert terminal.end() == 0
        assert terminal.screen.lines[-1] == (
            "0 utterances, 0.0 s of speech, 2 not transcribed, 4000 samples lost (0.25 s)."
        )


def listening(folder: Path, server: SpeechServer, *flags: str, columns: int = 80, lines: int = 24) -> TerminalProcess:
    arguments = ("transcribe", "--mic", "--port", server.port, *flags)
    return TerminalProcess(folder, *arguments, columns=columns, lines=lines)


def test_elsewhere_only_finals_are_printed(server: SpeechServer, tmp_path: Path) -> None:
    server.script[ROUTE] = [[OPEN, partial("turn", ""), final("Turn on."), final("", 1), final("Off.", 2, 0.5), CLOSED]]
    done = edge_agent(tmp_path, "transcribe", "--mic", "--port", server.port, extra={"TZ": "UTC"})
    assert (done.returncode, done.stdout) == (0, "12:00:00  Turn on.\n12:00:00  Off.\n")
    assert done.stderr.splitlines() == [
        'Listening to "USB Mic". Ctrl-C stops.',
        "The microphone was closed.",
        "2 utterances, 5.0 s of speech, no samples lost, median latency 0.40 s.",
    ]


def test_json_is_one_event_per_line(server: SpeechServer, tmp_path: Path) -> None:
    events = [OPEN, partial("turn", ""), final("Türn on."), CLOSED]
    server.script[ROUTE] = [[*events]]
    flags = ["--device", "USB Mic", "--model", "w", "--language", "de", "--prompt", "a&b", "--json"]
    done = edge_agent(tmp_path, "transcribe", "--mic", *flags, "--port", server.port)
    assert [json.loads(line) for line in done.stdout.splitlines()] == events
    assert server.paths == [f"{ROUTE}?device=USB%20Mic&model=w&language=de&prompt=a%26b&level=0"]


def test_a_daemon_that_goes_away_is_an_error_after_the_summary(server: SpeechServer, tmp_path: Path) -> None:
    server.script[ROUTE] = [[OPEN, final("Turn on.")]]
    done = edge_agent(tmp_path, "transcribe", "--mic", "--port", server.port)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-3:] == [
        "1 utterance, 2.5 s of speech, no samples lost, median latency 0.30 s.",
        "edge-agent: The daemon ended the connection.",
        "  Its log says why.",
    ]


def test_an_error_before_the_first_event_is_a_sentence(server: SpeechServer, tmp_path: Path) -> None:
    refusal = {"message": "The microphone is in use.", "type": "x", "param": None, "code": "microphone_in_use"}
    server.script[ROUTE] = [(409, {"error": refusal})]
    for flags in ([], ["--json"]):
        done = edge_agent(tmp_path, "transcribe", "--mic", *flags, "--port", server.port)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "edge-agent: The microphone is in use.\n"
