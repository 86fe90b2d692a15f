"""Text on a terminal, measured in columns: wide characters take two, combining ones none."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

_WORD = re.compile(r"\s+|[^\s]+")
_UNSEEN = frozenset(("Mn", "Me", "Cf"))


def width_of(text: str) -> int:
    """Columns that `text` takes (UAX 11: wide and fullwidth are two, ambiguous ones are one)."""
    return sum(map(_width, text))


def cut(text: str, width: int) -> str:
    """At most `width` columns of `text`; what is left out is shown as dots in the middle."""
    if width_of(text) <= width:
        return text
    if width < 4:
        return _head(text, width)
    tail = _head(text[::-1], (width - 2) // 2)[::-1]
    return _head(text, width - 2 - width_of(tail)) + ".." + tail


@dataclass(frozen=True, slots=True)
class Row:
    """Characters `start` to `end` of the text that was wrapped."""

    start: int
    end: int


def wrapped(text: str, width: int) -> list[Row]:
    """Rows of at most `width` columns, broken at spaces, which are left out there; between wide characters, which
    have no spaces, and inside a word that is longer than a row. At least one row, if an empty one."""
    width = max(2, width)
    rows: list[Row] = []
    start = end = 0
    used = 0
    for piece_start, piece_end in _pieces(text, width):
        columns = width_of(text[piece_start:piece_end])
        if text[piece_start].isspace():
            if end > start and used + columns < width:
                used += columns
                continue
            if end > start:
                rows.append(Row(start, end))
            start = end = piece_end
            used = 0
            continue
        if used + columns > width:
            rows.append(Row(start, end))
            start, used = piece_start, 0
        end = piece_end
        used += columns
    if end > start or not rows:
        rows.append(Row(start, end))
    return rows


def _pieces(text: str, width: int) -> Iterator[tuple[int, int]]:
    """Stretches that are not broken: spaces, words, single wide characters, parts of words longer than a row."""
    for found in _WORD.finditer(text):
        if found[0].isspace():
            yield found.span()
            continue
        start, used = found.start(), 0
        for position in range(found.start(), found.end()):
            columns = _width(text[position])
            broken = used + columns > width or columns == 2 or (used == 2 and _width(text[start]) == 2)
            if broken and columns and position > start:
                yield start, position
                start, used = position, 0
            used += columns
        yield start, found.end()


def _width(character: str) -> int:
    if character < "\u0300":
        return 1
    if unicodedata.category(character) in _UNSEEN:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _head(text: str, width: int) -> str:
    used = 0
    for position, character in enumerate(text):
        used += _width(character)
        if used > width:
            return text[:position]
    return text
