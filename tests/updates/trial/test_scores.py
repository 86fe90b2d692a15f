"""How good one answer is."""

from __future__ import annotations

import math

import pytest

from agent.updates.trial.scores import cosine, is_exact, is_json, perplexity, word_errors


def test_exact_answers_may_have_space_around_them() -> None:
    assert is_exact(" Paris\n", ["Paris", "paris"])
    assert not is_exact("Paris.", ["Paris"])
    assert is_exact("", [" "])


@pytest.mark.parametrize(
    ("answer", "keys", "right"),
    [
        ('{"a": 1}', (), True),
        (' {"a": 1, "b": 2}\n', ("a", "b"), True),
        ('{"a": 1}', ("b",), False),
        ("[1]", (), True),
        ("[1]", ("a",), False),
        ('{"a": 1', (), False),
        ('{"a": 1} and more', (), False),
        ("", (), False),
        ("\ud800", (), False),
        ("[" * 5000, (), False),
    ],
)
def test_json(answer: str, keys: tuple[str, ...], right: bool) -> None:
    assert is_json(answer, keys) == right


def test_perplexity() -> None:
    assert perplexity([math.log(0.5)] * 7) == pytest.approx(2)
    assert perplexity([-1.0, math.nan]) == perplexity([-math.inf]) == perplexity([]) == perplexity([-1e300]) == math.inf


def test_cosine() -> None:
    assert cosine((1, 0), (2, 0)) == 1
    assert cosine((1, 0), (0, 3)) == 0
    assert cosine((1, 2, 3), (-1, -2, -3)) == pytest.approx(-1)
    for first, second in (((1, 0), (1, 0, 0)), ((0, 0), (1, 0)), ((math.nan, 1), (1, 0)), ((math.inf, 1), (1, 0))):
        assert cosine(first, second) == -1


@pytest.mark.parametrize(
    ("said", "heard", "errors"),
    [
        ("Turn the light on!", "turn the light on", 0),
        ("turn the light on", "turn light off", 2),
        ("don't stop", "Don't stop.", 0),
        ("one", "one two three", 2),
        ("one two", "", 2),
        ("", "noise", 1),
        ("\u2460 caf\u00e9", "1 CAFE\u0301", 0),
    ],
)
def test_word_errors(said: str, heard: str, errors: int) -> None:
    assert word_errors(said, heard)[0] == errors
