"""Pairs of sentences that training never saw, to compare the student's similarities with the teacher's."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from convert.starter.embed.grammar import HELD_OUT, Subject, fill

PAIRS: Final = 1000
CODE: Final = ("{", "://", "()", " * ", "==")
NEAR: Final = 4
"""In a file of sentences, those within so many lines are counted as related."""

Kind = Literal["same", "near", "far"]


@dataclass(frozen=True)
class Pair:
    """`kind` says how it was drawn: the same meaning, a related one, or any two."""

    left: str
    right: str
    kind: Kind


def held_out_pairs(subjects: Mapping[str, Subject], seed: int, count: int = PAIRS) -> list[Pair]:
    """Of the subjects that training does not see, each a third: two ways to say the same; one meaning with other words;
    any two sentences."""
    rng = random.Random(seed)
    known = [subjects[name] for name in HELD_OUT]

    def drawn() -> tuple[str, ...]:
        subject = rng.choice(known)
        ways = list(fill(rng.choice(subject.meanings), subject.lists, rng))
        rng.shuffle(ways)
        return tuple(ways)

    found: dict[tuple[str, str], Pair] = {}
    kinds: tuple[Kind, ...] = ("same", "near", "far")
    while len(found) < count:
        kind = kinds[len(found) % 3]
        if kind == "far":
            left, right = drawn()[0], drawn()[0]
        else:
            subject = rng.choice(known)
            meaning = rng.choice(subject.meanings)
            ways = rng.sample(range(len(meaning)), 2)
            first, second = (fill(meaning, subject.lists, rng) for _ in range(2))
            left, right = first[ways[0]], (first if kind == "same" else second)[ways[1]]
        if left != right:
            found.setdefault((left, right), Pair(left, right, kind))
    return list(found.values())


def pairs_of_lines(lines: Sequence[str], seed: int, count: int = PAIRS) -> list[Pair]:
    """Half of them lines that stand near each other, half any two. Raises `ValueError` for too few lines."""
    rng = random.Random(seed)
    near = [(i, j) for i in range(len(lines)) for j in range(i + 1, min(i + 1 + NEAR, len(lines)))]
    far = [(i, j) for i in range(len(lines)) for j in range(i + 1 + NEAR, len(lines))]
    if len(near) < count // 2 or len(far) < count - count // 2:
        raise ValueError(f"{len(lines)} sentences are too few for {count} pairs")
    chosen = [(pair, "near") for pair in rng.sample(near, count // 2)]
    chosen += [(pair, "far") for pair in rng.sample(far, count - count // 2)]
    return [Pair(lines[i], lines[j], "near" if kind == "near" else "far") for (i, j), kind in chosen]


def english(lines: Sequence[str]) -> list[str]:
    """Those that are plain English sentences: no other script or accent, no code or links, four words and more."""
    return [
        line for line in lines if line.isascii() and len(line.split()) >= 4 and not any(mark in line for mark in CODE)
    ]
