"""What the sentences are made from: one text file for each subject in `subjects/`.

    color = red | green | blue                                a list: a name, and what it may stand for
    Paint the {thing} {color}. || Give the {thing} {color} paint.   one meaning, said in several ways

`{color}` is the same choice in all ways of a meaning, `{color.2}` another one. A list in a subject's own file counts
for that subject, those in words.txt for all.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).with_name("subjects")
SHARED: Final = "words"
ANY_WORD: Final = "any"
"""The list that is not in a file: words of the teacher's vocabulary."""
WORDS_IN_USE: Final = "words_in_use"
"""Frames for any words, which are a share of their own."""
HELD_OUT: Final = ("garden", "music")
"""Subjects that training never sees."""

_SLOT: Final = re.compile(r"\{([a-z]+)(?:\.\d)?\}")
_LIST: Final = re.compile(r"([a-z]+) = (.+)")

Lists = Mapping[str, Sequence[str]]
Meaning = tuple[str, ...]
"""Ways to say one thing, with slots."""


@dataclass(frozen=True)
class Subject:
    """`lists` has all that the slots of `meanings` name, but for the teacher's words."""

    name: str
    meanings: tuple[Meaning, ...]
    lists: Lists


def read_subjects(folder: Path = FOLDER) -> dict[str, Subject]:
    """All subjects by name, in the order of their names. Raises `ValueError` for a slot without a list."""
    _, shared = _parse((folder / f"{SHARED}.txt").read_text("utf-8"))
    found = {}
    for path in sorted(folder.glob("*.txt")):
        if path.stem == SHARED:
            continue
        meanings, own = _parse(path.read_text("utf-8"))
        lists = {**shared, **own}
        for name in (slot[1] for meaning in meanings for way in meaning for slot in _SLOT.finditer(way)):
            if name not in lists and name != ANY_WORD:
                raise ValueError(f"{path.name}: the slot {{{name}}} has no list")
        found[path.stem] = Subject(path.stem, tuple(meanings), lists)
    return found


def _parse(text: str) -> tuple[list[Meaning], dict[str, tuple[str, ...]]]:
    meanings: list[Meaning] = []
    lists: dict[str, tuple[str, ...]] = {}
    for line in map(str.strip, text.splitlines()):
        if not line or line.startswith("#"):
            continue
        if found := _LIST.fullmatch(line):
            lists[found[1]] = tuple(part.strip() for part in found[2].split("|"))
        else:
            meanings.append(tuple(part.strip() for part in line.split("||")))
    return meanings, lists


def fill(meaning: Meaning, lists: Lists, rng: random.Random) -> tuple[str, ...]:
    """Every way of a meaning, with one choice for all of them. Two slots of one list get different words."""
    chosen: dict[str, str] = {}

    def choice(found: re.Match[str]) -> str:
        slot, name = found[0], found[1]
        if slot not in chosen:
            taken = {word for other, word in chosen.items() if _SLOT.fullmatch(other)[1] == name}  # type: ignore[index]
            chosen[slot] = rng.choice([word for word in lists[name] if word not in taken] if taken else lists[name])
        return chosen[slot]

    return tuple(_as_sentence(_SLOT.sub(choice, way)) for way in meaning)


def _as_sentence(text: str) -> str:
    return text[:1].upper() + text[1:] if text.endswith((".", "?", "!")) else text


def grammar_texts(folder: Path = FOLDER) -> list[str]:
    """Every line of the subjects that training sees, slots and all: what the vocabulary has to know."""
    return [
        _SLOT.sub(" ", line)
        for path in sorted(folder.glob("*.txt"))
        if path.stem not in HELD_OUT
        for line in path.read_text("utf-8").splitlines()
        if not line.startswith("#")
    ]
