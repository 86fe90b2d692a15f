"""Tokens to words, and punctuation to the word that it belongs to."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from agent.engines.onnx.whisper.words import TimedWord, join_punctuation, letters, shorten_pauses, split_words

PIECES = [
    *(b" turn", b" the", b" li", b"ght", b" on", b".", b' "', b"50", b"%", b"\xc3", b"\xbc", b" -"),
    *(b"\xe5\xa4", b"\xa9", b"\xe6\xb0\x94", b" "),
]
"""9 and 10 are the bytes of an umlaut, 12 and 13 those of a Chinese character."""


def decode(tokens: Sequence[int]) -> str:
    return b"".join(PIECES[token] for token in tokens).decode("utf-8", "replace")


@pytest.mark.parametrize(
    ("tokens", "language", "words"),
    [
        ([0, 1, 2, 3, 4, 5], "en", [" turn", " the", " light", " on", "."]),
        ([2, 9, 10, 3, 5], "de", [" liüght", "."]),
        ([12, 13, 14], "zh", ["天", "气"]),
        ([12, 13, 14], "en", ["天气"]),
        ([0, 9], "en", [" turn\ufffd"]),  # cut within a character
        ([6, 7, 8], "en", [' "50', "%"]),
        ([], "en", []),
    ],
)
def test_words_of_a_text(tokens: list[int], language: str, words: list[str]) -> None:
    found = split_words(tokens, decode, language)
    assert [text for text, _ in found] == words
    assert [token for _, part in found for token in part] == tokens


def timed(*texts: str) -> list[TimedWord]:
    return [TimedWord(text, 1, float(index), index + 1.0, 1.0) for index, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("texts", "joined"),
    [
        ((" on", "."), [(" on.", 2, 0.0)]),
        ((" on", "!", '"'), [(' on!"', 3, 0.0)]),
        ((' "', "Stop", ".", '"'), [(' "Stop."', 4, 1.0)]),
        ((" (", " yes", ")"), [(" ( yes)", 3, 1.0)]),
        ((" a", " b"), [(" a", 1, 0.0), (" b", 1, 1.0)]),
        ((".",), [(".", 1, 0.0)]),
        ((), []),
    ],
)
def test_marks_belong_to_words(texts: tuple[str, ...], joined: list[tuple[str, int, float]]) -> None:
    words = timed(*texts)
    join_punctuation(words)
    assert [(word.text, word.tokens, word.start_s) for word in words if word.text] == joined
    assert sum(word.tokens for word in words) == len(texts)


def test_a_mark_does_not_last_for_the_pause_after_it() -> None:
    words = [TimedWord("a", 1, 0, 0.2, 1), TimedWord(".", 1, 0.2, 4, 1), TimedWord("b", 1, 4, 4.2, 1)]
    assert shorten_pauses(words) == pytest.approx(0.2)
    assert words[1].end_s == pytest.approx(0.6)
    words = [TimedWord("a", 1, 0, 0.2, 1), TimedWord(".", 1, 0.2, 0.4, 1), TimedWord("b", 1, 0.4, 4.2, 1)]
    shorten_pauses(words)
    assert words[2].start_s == pytest.approx(3.8)
    assert shorten_pauses([]) == 0


@pytest.mark.parametrize(("text", "count"), [(" light", 5), ("50", 8), (".", 0), (' "', 0), ("it's", 3), ("天", 1)])
def test_letters_to_say(text: str, count: int) -> None:
    assert letters(text) == count
