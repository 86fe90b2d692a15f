"""How good one answer is. Arithmetic only."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence

import msgspec


def is_exact(answer: str, accepted: Sequence[str]) -> bool:
    """Whether an answer is one of those; space around it does not matter."""
    return answer.strip() in {one.strip() for one in accepted}


def is_json(answer: str, keys: Sequence[str]) -> bool:
    """Whether an answer is one JSON value, with these keys where there are any."""
    try:
        value = msgspec.json.decode(answer.strip())
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return False
    return not keys or (isinstance(value, dict) and set(keys) <= value.keys())


def perplexity(logprobs: Sequence[float]) -> float:
    """Of tokens with these natural log-probabilities; infinite where one was impossible, or not a number."""
    total = math.fsum(logprobs) if all(map(math.isfinite, logprobs)) else -math.inf
    try:
        return math.exp(-total / len(logprobs)) if logprobs else math.inf
    except OverflowError:
        return math.inf


def cosine(first: Sequence[float], second: Sequence[float]) -> float:
    """Between two vectors; -1 where their lengths differ, or one has no direction or is not of numbers."""
    if len(first) != len(second):
        return -1.0
    norm = math.hypot(*first) * math.hypot(*second)
    value = math.fsum(a * b for a, b in zip(first, second, strict=True)) / norm if norm else math.nan
    return max(-1.0, min(1.0, value)) if math.isfinite(value) else -1.0


def words(text: str) -> list[str]:
    """What is compared of a transcript: case, punctuation and compatibility forms do not matter."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    kept = "".join(c if c == "'" or unicodedata.category(c)[0] in "LMN" else " " for c in folded)
    return [word for part in kept.split() if (word := part.strip("'"))]


def word_errors(said: str, heard: str) -> tuple[int, int]:
    """(insertions, deletions and substitutions, words that were said): Levenshtein's distance over words."""
    expected, found = words(said), words(heard)
    row = list(range(len(found) + 1))
    for index, word in enumerate(expected, 1):
        diagonal, row[0] = row[0], index
        for column, other in enumerate(found, 1):
            diagonal, row[column] = (
                row[column],
                min(row[column] + 1, row[column - 1] + 1, diagonal + (word != other)),
            )
    return row[-1], len(expected)
