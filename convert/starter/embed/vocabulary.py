"""A small WordPiece vocabulary out of the teacher's: its most frequent words, and the pieces that the others need.

BERT's vocabulary is in the order in which WordPiece training found its entries, which is about that of their frequency
in Wikipedia and books (https://arxiv.org/abs/1609.08144, section 4.1): so it tells without a corpus what is frequent.
"""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

SPECIAL: Final = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
LETTERS: Final = "abcdefghijklmnopqrstuvwxyz0123456789"
PIECE_SHARE: Final = 0.24
"""Of the vocabulary, for the continuations of words."""
SYMBOLS: Final = "°€£–—’“”…²·×±§µ"
_PLAIN: Final = re.compile(r"[a-z0-9]+")
_WORD: Final = re.compile(r"[a-z0-9]+|[^\sa-z0-9]")


def frequent_words(teacher: Sequence[str]) -> list[str]:
    """Whole words of the teacher of three letters and more, frequent ones first."""
    return [word for word in teacher if len(word) > 2 and word.isascii() and word.isalpha()]


def choose(teacher: Sequence[str], texts: Iterable[str], size: int) -> list[str]:
    """`size` entries of the teacher's vocabulary, in its order but for the special ones, which come first.

    All single characters of ASCII are in, and what `texts` use as whole words: so no plain text becomes unknown.
    Raises `ValueError` where `size` is too small for them.
    """
    there = set(teacher)
    pieces = [word for word in teacher if _PLAIN.fullmatch(word[2:]) and word.startswith("##")]
    kept = {mark for code in range(33, 127) if (mark := chr(code).lower()) in there}
    kept |= {mark for mark in SYMBOLS if mark in there} | {f"##{letter}" for letter in LETTERS}
    kept |= {word for text in texts for word in _WORD.findall(text.lower()) if word in there}
    piece_count = int(size * PIECE_SHARE)
    word_count = size - len(SPECIAL) - piece_count
    for word in teacher:
        if len(kept) >= word_count:
            break
        if _PLAIN.fullmatch(word):
            kept.add(word)
    # What the words that are left out are cut into: a word that is more frequent counts more.
    needed: Counter[str] = Counter()
    available = kept | set(pieces)
    for place, word in enumerate(teacher):
        if word not in kept and _PLAIN.fullmatch(word):
            needed.update({piece: 1000.0 / (1000 + place) for piece in cut(word, available)[1:]})
    for piece, _ in needed.most_common():
        if len(kept) >= size - len(SPECIAL):
            break
        kept.add(piece)
    if len(kept) + len(SPECIAL) > size:
        raise ValueError(f"{size} entries are too few: {len(kept) + len(SPECIAL)} are needed")
    return [*SPECIAL, *(word for word in teacher if word in kept)]


def cut(word: str, vocabulary: set[str]) -> list[str]:
    """WordPiece: the longest entry first, the rest as continuations; empty where no entry fits."""
    found: list[str] = []
    start = 0
    while start < len(word):
        mark = "##" if start else ""
        ends = (end for end in range(len(word), start, -1) if mark + word[start:end] in vocabulary)
        end = next(ends, None)
        if end is None:
            return []
        found.append(mark + word[start:end])
        start = end
    return found


def small_tokenizer(teacher: Mapping[str, Any], entries: Sequence[str]) -> dict[str, Any]:
    """The teacher's tokenizer.json with `entries` for its vocabulary, numbered as they stand. Neither pads nor cuts."""
    ids = {entry: index for index, entry in enumerate(entries)}
    made = copy.deepcopy(dict(teacher))
    made["model"]["vocab"] = ids
    made["added_tokens"] = [
        {**token, "id": ids[token["content"]]} for token in made["added_tokens"] if token["content"] in ids
    ]
    for token in made["post_processor"]["special_tokens"].values():
        token["ids"] = [ids[name] for name in token["tokens"]]
    made["truncation"] = made["padding"] = None
    return made
