"""Tables, sizes, progress and model text."""

from __future__ import annotations

import io

import pytest

from agent.terminal import Progress, duration, size, table, write_text


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_columns_are_as_wide_as_they_must_be() -> None:
    assert table([["a", "10"], ["bcd", "5"]], ("N", "SIZE"), right=(1,)) == "N    SIZE\na      10\nbcd     5"


@pytest.mark.parametrize(
    ("bytes_", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (397_808_192, "398 MB"), (1.9e9, "1.9 GB")]
)
def test_sizes(bytes_: float, text: str) -> None:
    assert size(bytes_) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7260, "2 h 1 min"), (180_000, "2 d 2 h")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_terminal_shows_control_characters_instead_of_obeying_them() -> None:
    screen, file = Screen(), io.StringIO()
    for stream in (screen, file):
        write_text("a\x1b[2J\nb\tc\r", stream)
    assert screen.getvalue() == "a\\x1b[2J\nb\tc\\r"
    assert file.getvalue() == "a\x1b[2J\nb\tc\r"


def test_a_terminal_gets_a_bar_that_is_wiped_away() -> None:
    screen = Screen()
    with Progress("copying", screen) as progress:
        progress(50, 100)
        progress(100, 100)
    assert "[===" in screen.getvalue()
    assert screen.getvalue().endswith("\r\x1b[K")


def test_a_file_gets_few_plain_lines_and_none_for_quick_work() -> None:
    file = io.StringIO()
    with Progress("copying", file) as progress:
        progress(100, 100)
        assert file.getvalue() == ""
        progress._started -= 2
        for done in range(101):
            progress(done * 10_000, 1_000_000)
    lines = file.getvalue().splitlines()
    assert 5 <= len(lines) <= 11
    assert "\x1b" not in file.getvalue()
    assert lines[0].startswith("copying: 10% of 1.0 MB")
