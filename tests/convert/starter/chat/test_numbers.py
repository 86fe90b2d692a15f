"""Numbers and times in words mean what they say."""

from __future__ import annotations

import random
import re

import pytest

from convert.starter.chat import numbers


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (13, "thirteen"),
        (20, "twenty"),
        (42, "forty two"),
        (100, "one hundred"),
        (115, "one hundred fifteen"),
        (999, "nine hundred ninety nine"),
    ],
)
def test_numbers_in_words(number: int, words: str) -> None:
    assert numbers.in_words(number) == words


@pytest.mark.parametrize("number", [-1, 1000])
def test_numbers_without_words_are_refused(number: int) -> None:
    with pytest.raises(ValueError, match="0 to 999"):
        numbers.in_words(number)


def drawn_times() -> dict[str, str]:
    rng = random.Random(3)
    return {text: fields["time"] for text, fields in (numbers.time_of_day(rng) for _ in range(20_000))}


@pytest.mark.parametrize(
    ("said", "time"),
    [
        ("noon", "12:00"),
        ("midnight", "0:00"),
        ("seven", "7:00"),
        ("half past six", "6:30"),
        ("quarter to nine", "8:45"),
        ("quarter to one", "12:45"),
        ("twelve am", "0:00"),
        ("twelve pm", "12:00"),
        ("seven in the evening", "19:00"),
        ("half past seven in the morning", "7:30"),
    ],
)
def test_a_time_of_day_means_what_it_says(said: str, time: str) -> None:
    assert drawn_times()[said] == time


def test_all_times_are_on_the_clock() -> None:
    assert all(re.fullmatch(r"(1?\d|2[0-3]):[0-5]\d", time) for time in drawn_times().values())


def test_digits_keep_their_zeros() -> None:
    rng = random.Random(1)
    spelled = dict(zip(numbers.ONES, "0123456789", strict=False))
    for _ in range(200):
        text, fields = numbers.digits(rng)
        assert "".join(spelled.get(word, word) for word in text.split()) == fields["value"]
