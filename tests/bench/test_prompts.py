from __future__ import annotations

import pytest

from agent.bench.prompts import Fit, Prompts, fit


def test_texts_repeat_by_seed_and_never_within_one() -> None:
    one, other = Prompts(3), Prompts(3)
    texts = [one.text(20) for _ in range(200)]
    assert texts == [other.text(20) for _ in range(200)]
    assert len({text[:40] for text in texts}) == 200
    assert all(len(text.split()) == 20 for text in texts)


@pytest.mark.parametrize(
    ("short", "long", "tokens", "words"),
    [
        ((16, 20), (96, 100), 512, 508),  # a template of 4 tokens, a token for each word
        ((16, 48), (96, 288), 300, 100),
        ((16, 30), (96, 30), 130, 100),  # a server that cuts or counts nothing: the usual of English
        ((16, 20), (96, 100), 1, 1),
    ],
)
def test_words_for_a_number_of_tokens(short: tuple[int, int], long: tuple[int, int], tokens: int, words: int) -> None:
    assert fit(short, long).words(tokens) == words


def test_without_a_fit_a_word_is_a_token_and_a_third() -> None:
    assert Fit().words(130) == 100
