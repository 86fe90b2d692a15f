"""What is said: a closed vocabulary, the same for the same seed, and sentences that are never said."""

from __future__ import annotations

import random

import pytest

from convert.starter.chat.numbers import ONES
from convert.starter.chat.split import is_held_out, normal
from convert.starter.whisper.sentences import WORDS, draw_sentence, held_out_sentences, training_sentence, written


def said(seed: int, count: int, kept_out: frozenset[str] = frozenset()) -> list[str]:
    rng = random.Random(seed)
    return [training_sentence(rng, kept_out) for _ in range(count)]


def test_every_word_is_of_the_vocabulary() -> None:
    rng = random.Random(1)
    assert {word for _ in range(5000) for word in normal(draw_sentence(rng)).split()} <= WORDS


def test_the_same_seed_says_the_same() -> None:
    assert said(4, 200) == said(4, 200)
    assert said(4, 200) != said(5, 200)
    assert held_out_sentences(50, 1) == held_out_sentences(50, 1)


def test_held_out_sentences_are_never_said() -> None:
    held_out = held_out_sentences(200, 9)
    assert len(set(held_out)) == 200
    assert all(is_held_out(text) for text in held_out)
    assert not set(held_out) & set(said(2, 10_000))


def test_sentences_of_given_recordings_are_left_out_too() -> None:
    common = "How long is left on the timer?"
    assert common in said(3, 2000)
    assert common not in said(3, 2000, frozenset({normal(common)}))


def test_both_sources_speak() -> None:
    texts = said(6, 3000)
    assert any(text.startswith("Set the thermostat to ") for text in texts)  # the patterns
    assert any(text.startswith("Volume ") for text in texts)  # starter-chat's requests


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("turn on the light", "Turn on the light."),
        ("what time is it", "What time is it?"),
        ("is the front door open", "Is the front door open?"),
    ],
)
def test_sentences_are_written_with_a_capital_and_a_mark(text: str, expected: str) -> None:
    assert written(text) == expected


def test_digits_are_taught_more_often_than_they_are_asked() -> None:
    digits = set(ONES[:10])

    def share(texts: list[str]) -> float:
        return sum(set(normal(text).split()) <= {"call", *digits} for text in texts) / len(texts)

    rng = random.Random(5)
    taught = share([training_sentence(rng) for _ in range(2000)])
    assert 0.08 < taught < 0.2
    assert taught > 1.5 * share([draw_sentence(rng) for _ in range(2000)])
