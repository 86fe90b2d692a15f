"""What is never trained on: one in sixteen of all longer sentences, by their hash, and the wordings that are marked."""

from __future__ import annotations

import hashlib
import re
from typing import Final

_SHARE: Final = 16
_FEWEST_WORDS: Final = 4
"""Shorter sentences ("good evening", "yes please") are all taught: there are too few of them to do without any."""
_NOT_WORDS: Final = re.compile(r"[^a-z0-9' ]+")


def normal(text: str) -> str:
    """Lower case, single spaces, without punctuation: what is the same sentence."""
    return " ".join(_NOT_WORDS.sub(" ", text.lower()).split())


def is_held_out(text: str) -> bool:
    """Whether the sentence, without politeness and slips, is kept for judging."""
    sentence = normal(text)
    return sentence.count(" ") + 1 >= _FEWEST_WORDS and hashlib.sha256(sentence.encode()).digest()[0] % _SHARE == 0
