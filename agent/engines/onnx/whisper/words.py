"""Words and their times: tokens joined to words, punctuation to the word that it belongs to, as openai/whisper does."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

Decode = Callable[[Sequence[int]], str]

WITHOUT_SPACES: Final = frozenset({"zh", "ja", "th", "lo", "my", "yue"})
"""Languages that put no space between words: every character that tokens complete counts as one."""
PREPENDED: Final = "\"'“¿([{-"
APPENDED: Final = "\"'.。,，!！?？:：”)]}、"
_SENTENCE_ENDS: Final = ".。!！?？"
_LONGEST_MEDIAN_S: Final = 0.7
_BROKEN: Final = "\ufffd"


@dataclass
class TimedWord:
    """`text` is empty once it was joined to a neighbor. `tokens` counts them."""

    text: str
    tokens: int
    start_s: float
    end_s: float
    probability: float


def split_words(tokens: Sequence[int], decode: Decode, language: str) -> list[tuple[str, list[int]]]:
    """Texts and tokens of the words of a text, leading space included."""
    characters = _split_characters(tokens, decode)
    if language in WITHOUT_SPACES:
        return characters
    words: list[tuple[str, list[int]]] = []
    for text, part in characters:
        alone = text.strip() in string.punctuation  # a space alone counts, too
        if not words or text.startswith(" ") or alone:
            words.append((text, list(part)))
        else:
            words[-1] = (words[-1][0] + text, words[-1][1] + part)
    return words


def _split_characters(tokens: Sequence[int], decode: Decode) -> list[tuple[str, list[int]]]:
    """At every place where the tokens so far are whole characters: some take several tokens."""
    whole = decode(tokens)
    parts: list[tuple[str, list[int]]] = []
    current: list[int] = []
    offset = 0
    for token in tokens:
        current.append(token)
        text = decode(current)
        broken = text.find(_BROKEN)
        # The text itself may have that character: then it is not a sign of half of one.
        if broken < 0 or whole[offset + broken : offset + broken + 1] == _BROKEN:
            parts.append((text, current))
            offset += len(text)
            current = []
    if current:
        parts.append((decode(current), current))
    return parts


def join_punctuation(words: list[TimedWord]) -> None:
    """Opening marks go to the word after them, closing ones to the word before; changes `words` in place."""
    target = len(words) - 1
    for index in range(len(words) - 2, -1, -1):
        word, following = words[index], words[target]
        if word.text.startswith(" ") and word.text.strip() and word.text.strip() in PREPENDED:
            following.text, following.tokens = word.text + following.text, word.tokens + following.tokens
            word.text, word.tokens = "", 0
        else:
            target = index
    target = 0
    for index in range(1, len(words)):
        word, before = words[index], words[target]
        if word.text and not before.text.endswith(" ") and word.text in APPENDED:
            before.text, before.tokens = before.text + word.text, before.tokens + word.tokens
            word.text, word.tokens = "", 0
        else:
            target = index


def shorten_pauses(words: list[TimedWord]) -> float:
    """A mark at the end of a sentence, and the word after it, take in the pause: cut them to twice the median length.

    Returns that median in seconds.
    """
    lengths = [word.end_s - word.start_s for word in words if word.end_s > word.start_s]
    median_s = min(_LONGEST_MEDIAN_S, float(np.median(lengths))) if lengths else 0.0
    longest_s = 2 * median_s
    for index in range(1, len(words)):
        word = words[index]
        if word.end_s - word.start_s <= longest_s:
            continue
        if word.text in _SENTENCE_ENDS:
            word.end_s = word.start_s + longest_s
        elif words[index - 1].text in _SENTENCE_ENDS:
            word.start_s = word.end_s - longest_s
    return median_s


def letters(text: str) -> int:
    """How long a word takes to say, in letters: a digit is said as a word of four. 0 for marks alone."""
    return sum(4 if character.isdigit() else 1 for character in text if character.isalnum())
