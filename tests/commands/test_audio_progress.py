"""How far a file is, in every width."""

from __future__ import annotations

import io

import pytest

from agent.commands.audio_progress import AudioProgress, clock_time
from agent.commands.columns import width_of


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (7.9, "0:07"), (184, "3:04"), (3723, "1:02:03"), (90_000, "25:00:00")]
)
def test_times(seconds: float, text: str) -> None:
    assert clock_time(seconds) == text


@pytest.mark.parametrize(
    ("width", "label", "total_s", "shown"),
    [
        (79, "a.wav", 100.0, "a.wav [========                 ] 0:35 of 1:40, real-time factor 0.10, 6 s left"),
        (60, "a.wav", 100.0, "a.wav [==    ] 0:35 of 1:40, real-time factor 0.10, 6 s left"),
        (39, "a.wav", 100.0, "a.wav [==      ] 0:35 of 1:40, RTF 0.10"),
        (30, "a.wav", 100.0, "a.wav 0:35 of 1:40, RTF 0.10"),
        (20, "a.wav", 100.0, "a.wav [==     ] 0:35"),
        (39, "a-long-name.wav", 100.0, "a-long-name.wav 0:35 of 1:40, RTF 0.10"),
        (39, "a-very-long-name.wav", 100.0, "a-very-long-name.wav [===        ] 0:35"),
        (60, "会議.wav", None, "会議.wav 0:35, real-time factor 0.10"),
        (10, "a-very-long-name.wav", 100.0, "a-ve...wav"),
    ],
)
def test_the_widest_form_that_fits(
    monkeypatch: pytest.MonkeyPatch, width: int, label: str, total_s: float | None, shown: str
) -> None:
    monkeypatch.setenv("COLUMNS", str(width + 1))
    clock, screen = Clock(), Screen()
    progress = AudioProgress(label, screen, clock=clock)
    clock.now = 3.5
    progress.show(35.0, total_s)
    drawn = screen.getvalue().removeprefix("\r\x1b[K")
    assert width_of(drawn) <= width
    assert drawn == shown


def test_elsewhere_there_are_few_lines_and_none_for_quick_work() -> None:
    clock, file = Clock(), io.StringIO()
    progress = AudioProgress("talk.mp3", file, clock=clock)
    progress.show(0.0, None)
    progress.show(500.0, 1000.0)
    assert file.getvalue() == ""
    for second in range(101):
        clock.now = float(second)
        progress.show(10.0 * second, 1000.0)
    progress.wipe()
    lines = file.getvalue().splitlines()
    assert (len(lines), lines[0]) == (10, "talk.mp3: 1:40 of 16:40, real-time factor 0.10")


def test_without_a_length_a_line_is_due_every_minute() -> None:
    clock, file = Clock(), io.StringIO()
    progress = AudioProgress("standard input", file, clock=clock)
    for second in range(0, 300, 10):
        clock.now = 10.0 + second / 10
        progress.show(float(second), None)
    assert file.getvalue().splitlines()[0] == "standard input: 1:00, real-time factor 0.27"
    assert len(file.getvalue().splitlines()) == 4


def test_a_bar_is_wiped_away_and_drawn_again_at_once() -> None:
    clock, screen = Clock(), Screen()
    progress = AudioProgress("a.wav", screen, clock=clock)
    progress.show(0.0, None)
    progress.show(1.0, 10.0)  # too soon
    progress.wipe()
    progress.wipe()
    assert screen.getvalue() == "\r\x1b[Ka.wav waiting for the model\r\x1b[K"
    progress.show(1.0, 10.0)
    assert screen.getvalue().count("0:01 of 0:10") == 1
