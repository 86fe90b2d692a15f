"""Text in columns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.commands.columns import cut, width_of, wrapped


@pytest.mark.parametrize(
    ("text", "width"),
    [("", 0), ("abc", 3), ("日本", 4), ("e\u0301", 1), ("a\u200db", 2), ("ｱ", 1), ("Ａ", 2), ("한", 2)],
)
def test_widths(text: str, width: int) -> None:
    assert width_of(text) == width


@pytest.mark.parametrize(
    ("text", "width", "rows"),
    [
        ("", 10, [""]),
        ("turn on the kitchen light", 10, ["turn on", "the", "kitchen", "light"]),
        ("turn on the", 7, ["turn on", "the"]),
        ("turn on the", 11, ["turn on the"]),
        ("abcdefghijkl mn", 5, ["abcde", "fghij", "kl mn"]),
        ("日本語のテキスト です", 7, ["日本語", "のテキ", "スト で", "す"]),
        ("a日b c", 4, ["a日b", "c"]),
        ("  a    b  ", 3, ["a", "b"]),
        ("e\u0301e\u0301e\u0301", 2, ["e\u0301e\u0301", "e\u0301"]),
        ("日", 1, ["日"]),
    ],
)
def test_rows(text: str, width: int, rows: list[str]) -> None:
    assert [text[row.start : row.end] for row in wrapped(text, width)] == rows


@given(st.text(alphabet="ab 日한e\u0301"), st.integers(2, 12))
def test_no_row_is_too_wide_and_no_word_is_lost(text: str, width: int) -> None:
    rows = [text[row.start : row.end] for row in wrapped(text, width)]
    assert all(width_of(row) <= width for row in rows)
    assert "".join("".join(rows).split()) == "".join(text.split())


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("kitchen.wav", 11, "kitchen.wav"),
        ("a-very-long.wav", 11, "a-ver...wav"),
        ("日本語", 5, "日.."),
        ("abc", 2, "ab"),
    ],
)
def test_what_does_not_fit_is_cut_in_the_middle(text: str, width: int, shown: str) -> None:
    assert cut(text, width) == shown
