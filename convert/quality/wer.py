"""Word error rate, and how much two token sequences have in common."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np

_APOSTROPHES: Final = str.maketrans({"\u2019": "'", "\u2018": "'", "\u02bc": "'", "\uff07": "'"})
# Scripts that are written without spaces: Thai, Lao, Myanmar, Khmer, kana, Han.
_UNSPACED: Final = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ece\u1000-\u109f\u1780-\u17d3\u3041-\u30ff\u3400-\u9fff\uf900-\ufaff"
)
_UNSPACED_CHARACTER: Final = re.compile(f"([{_UNSPACED}\U00020000-\U0003134f])")

_INNER: Final = "'.,:"
"""Kept within a word or a number."""

Item = TypeVar("Item", bound=Hashable)


def words(text: str) -> list[str]:
    """The words of `text` as they are compared: what differs only in writing is the same.

    Compatibility forms are unified (NFKC), case and punctuation go, an apostrophe within a word stays, and so do
    `.`, `,` and `:` within a number. Numbers stay as they are written: `fifty` is not `50`. In scripts without spaces
    each character counts as a word.
    """
    folded = unicodedata.normalize("NFKC", text.translate(_APOSTROPHES)).casefold()
    # Folding can undo the normal form: U+0345 becomes a letter.
    folded = unicodedata.normalize("NFKC", folded)
    kept = "".join(character if _is_kept(folded, index) else " " for index, character in enumerate(folded))
    parts = _UNSPACED_CHARACTER.sub(r" \1 ", kept).split()
    # What stood between two characters may stand at an end, now that those of unspaced scripts are apart.
    return [word for part in parts if (word := part.strip(_INNER))]


def edit_distance(reference: Sequence[Item], candidate: Sequence[Item]) -> int:
    """The fewest insertions, deletions and substitutions that turn one into the other (Levenshtein)."""
    numbers: dict[Hashable, int] = {}
    first = np.array([numbers.setdefault(item, len(numbers)) for item in reference], dtype=np.int64)
    second = np.array([numbers.setdefault(item, len(numbers)) for item in candidate], dtype=np.int64)
    positions = np.arange(len(second) + 1)
    row = positions.copy()
    for item in first:
        replaced_or_deleted = row + 1
        np.minimum(replaced_or_deleted[1:], row[:-1] + (second != item), out=replaced_or_deleted[1:])
        # An insertion costs one more than the cell to its left: a running minimum, once the slope is taken out.
        row = np.minimum.accumulate(replaced_or_deleted - positions) + positions
    return int(row[-1])


@dataclass(frozen=True)
class WordErrors:
    """Errors of a set of transcripts against what was said, and how many words were said."""

    errors: int
    words: int

    @property
    def percent(self) -> float:
        """The word error rate in percent; above 100 when more was made up than was said."""
        return 100.0 * self.errors / self.words


def word_errors(pairs: Iterable[tuple[str, str]]) -> WordErrors:
    """Over (what was said, transcript) pairs: errors of all, divided by words of all, so that long texts count more."""
    errors = said = 0
    for reference, transcript in pairs:
        expected = words(reference)
        errors += edit_distance(expected, words(transcript))
        said += len(expected)
    return WordErrors(errors, said)


def agreement(pairs: Iterable[tuple[Sequence[Item], Sequence[Item]]]) -> float:
    """The share of positions at which two sequences agree once they are aligned, over all pairs: 0 to 1.

    One minus the edit distance, divided by the longer one's length. 1 when there is nothing to compare.
    """
    different = positions = 0
    for first, second in pairs:
        different += edit_distance(first, second)
        positions += max(len(first), len(second))
    return 1.0 - different / positions if positions else 1.0


def _is_kept(text: str, index: int) -> bool:
    character = text[index]
    if character == "'":
        return _around(text, index, str.isalpha)
    if character in ".,:":
        return _around(text, index, str.isdigit)
    return unicodedata.category(character)[0] in "LMN"


def _around(text: str, index: int, test: Callable[[str], bool]) -> bool:
    return 0 < index < len(text) - 1 and test(text[index - 1]) and test(text[index + 1])
