"""Nothing that a device writes is obeyed by a terminal."""

from __future__ import annotations

import json

import pytest

from agent.commands.printable import LONGEST, json_text, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 日本 👍", "plain é 日本 👍"),
        ("\x1b[2J\x07", "\\x1b[2J\\x07"),
        ("\x9b2J\x7f", "\\x9b2J\\x7f"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\u202eevil\u2066", "\\u202eevil\\u2066"),
        ("\ud800", "\\ud800"),
        ("\u2028\ufeff\u200b", "\\u2028\\ufeff\\u200b"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_what_a_terminal_would_obey_is_shown(text: str, shown: str) -> None:
    assert printable(text) == shown
    shown.encode()  # every terminal can be sent it


def test_a_line_fits_where_it_should() -> None:
    assert printable("x" * 100, 10) == "xxxx..xxxx"
    assert len(printable("x" * 10_000_000)) == LONGEST


@pytest.mark.parametrize("text", ["\x1b", "\x7f", "\x9b31m", "\u202e", "\ud800", "\U000e0041", '"\\', "é👍\n"])
def test_json_stays_the_same_value_in_harmless_characters(text: str) -> None:
    for indent in (None, 2):
        written = json_text({text: [text]}, indent=indent)
        assert json.loads(written) == {text: [text]}
        assert printable(written.replace("\n", "")) == written.replace("\n", "")
