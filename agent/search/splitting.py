"""Long texts in passages that a model can take: whole paragraphs where they fit, else sentences, else words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from agent.errors import RequestError

LIMIT: Final = 1_200
OVERLAP: Final = 200

Measure = Callable[[str], int]

_SENTENCE: Final = re.compile(r".+?(?:[.!?…。！？]+[\"')\]»”’]*(?=\s|$)|$)\s*", re.DOTALL)
_WORD: Final = re.compile(r"\S+\s*")
_PARAGRAPH_END: Final = "\n\n"


@dataclass(frozen=True)
class Budget:
    """How large a passage may be, and how much of its end the next one repeats, so that no thought is cut in two.

    `measure` counts: characters, or tokens where it is a tokenizer's count. It must not shrink when text is added.
    """

    limit: int = LIMIT
    overlap: int = OVERLAP
    measure: Measure = len

    def check(self) -> None:
        """Raises `RequestError` for a budget in which passages cannot move on."""
        if self.limit < 1 or not 0 <= self.overlap <= self.limit // 2:
            raise RequestError(
                f"Passages of {self.limit} with an overlap of {self.overlap} are not possible.",
                hint="The overlap is at most half of the passage.",
            )


def paragraphs(lines: Iterable[str]) -> Iterator[str]:
    """Runs of lines between blank ones, one at a time."""
    held: list[str] = []
    for line in lines:
        if line.strip():
            held.append(line.rstrip())
        elif held:
            yield "\n".join(held)
            held = []
    if held:
        yield "\n".join(held)


def split(texts: Iterable[str], budget: Budget) -> Iterator[str]:
    """Passages of at most `budget.limit` that hold every word of the paragraphs, in order.

    Raises `RequestError` for a budget that is not possible.
    """
    budget.check()
    held: list[str] = []  # pieces of the passage being filled
    fresh = False  # whether it has more than what the one before ended with
    for text in texts:
        for piece in _pieces(text.strip() + _PARAGRAPH_END, budget) if text.strip() else ():
            if held and budget.measure(_joined([*held, piece])) > budget.limit:
                if fresh:
                    yield _joined(held)
                held = _tail(held, piece, budget)
            held.append(piece)
            fresh = True
    if held and fresh:
        yield _joined(held)


def _joined(pieces: Iterable[str]) -> str:
    return "".join(pieces).strip()


def _tail(held: list[str], following: str, budget: Budget) -> list[str]:
    """The last pieces that are within the overlap and leave room for what follows."""
    kept: list[str] = []
    for piece in reversed(held):
        longer = [piece, *kept]
        if budget.measure(_joined(longer)) > budget.overlap:
            break
        if budget.measure(_joined([*longer, following])) > budget.limit:
            break
        kept = longer
    return kept


def _pieces(text: str, budget: Budget) -> Iterator[str]:
    """Sentences; where one is too long its words; where one of these is, as many characters as fit."""
    for sentence in _SENTENCE.findall(text):
        if budget.measure(sentence.strip()) <= budget.limit:
            yield sentence
            continue
        for word in _WORD.findall(sentence):
            yield from [word] if budget.measure(word.strip()) <= budget.limit else _cut(word, budget)


def _cut(word: str, budget: Budget) -> Iterator[str]:
    while word:
        size = len(word)
        while size > 1 and budget.measure(word[:size].strip()) > budget.limit:
            size = min(size - 1, max(1, size * budget.limit // budget.measure(word[:size])))
        yield word[:size]
        word = word[size:]
