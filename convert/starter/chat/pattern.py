"""Sentence patterns: `(turn|switch) on the {light}(, please|)`. Alternatives in parentheses, slots in braces."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from functools import cache
from typing import Final

_SPACES: Final = re.compile(r"\s+([,.!?]?)")
_SLOT: Final = re.compile(r"\{(\w+)\}")

Part = str | tuple["Sequence", ...]
Sequence = tuple[Part, ...]


@cache
def parse(pattern: str) -> Sequence:
    """The pattern as nested alternatives. Raises `ValueError` for parentheses that do not match."""
    sequence, end = _sequence(pattern, 0)
    if end != len(pattern):
        raise ValueError(f"unmatched parenthesis in {pattern!r}")
    return sequence


def _sequence(pattern: str, at: int) -> tuple[Sequence, int]:
    parts: list[Part] = []
    while at < len(pattern) and pattern[at] not in "|)":
        if pattern[at] == "(":
            choices, at = _choices(pattern, at + 1)
            parts.append(choices)
        else:
            end = at
            while end < len(pattern) and pattern[end] not in "(|)":
                end += 1
            parts.append(pattern[at:end])
            at = end
    return tuple(parts), at


def _choices(pattern: str, at: int) -> tuple[tuple[Sequence, ...], int]:
    choices: list[Sequence] = []
    while True:
        sequence, at = _sequence(pattern, at)
        choices.append(sequence)
        if at == len(pattern):
            raise ValueError(f"unmatched parenthesis in {pattern!r}")
        at += 1
        if pattern[at - 1] == ")":
            return tuple(choices), at


def draw(pattern: str, rng: random.Random) -> str:
    """One way to say it, slots still in braces, with single spaces and none before punctuation."""
    out: list[str] = []
    _draw(parse(pattern), rng, out)
    return _SPACES.sub(lambda found: found[1] or " ", "".join(out)).strip()


def _draw(sequence: Sequence, rng: random.Random, out: list[str]) -> None:
    for part in sequence:
        if isinstance(part, str):
            out.append(part)
        else:
            _draw(part[int(rng.random() * len(part))], rng, out)


def slots(text: str) -> list[str]:
    """Names of the slots in what was drawn, in order."""
    return _SLOT.findall(text)


def fill(text: str, value: Callable[[str], str]) -> str:
    """`text` with each slot replaced by `value(name)`."""
    return _SLOT.sub(lambda found: value(found[1]), text)


@cache
def matcher(pattern: str) -> re.Pattern[str]:
    """What `draw` could make of the pattern, with anything in its slots."""

    def expression(sequence: Sequence) -> str:
        parts = []
        for part in sequence:
            if isinstance(part, str):
                pieces = _SLOT.split(part)
                parts += [re.escape(piece) if index % 2 == 0 else r"\S.*?" for index, piece in enumerate(pieces)]
            else:
                parts.append("(?:" + "|".join(expression(choice) for choice in part) + ")")
        return "".join(parts)

    spaced = expression(parse(pattern)).replace(r"\ ", r"\s*")
    return re.compile(rf"\s*{spaced}\s*", re.IGNORECASE)
