"""Word error rate: what counts as a word, as an error, as agreement."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convert.quality.wer import agreement, edit_distance, word_errors, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \t\n", []),
        ("...!?", []),
        ("Add milk to the shopping list.", ["add", "milk", "to", "the", "shopping", "list"]),
        ("  HELLO,world;again  ", ["hello", "world", "again"]),
        ("Don't — don’t 'quote' o'clock", ["don't", "don't", "quote", "o'clock"]),
        ("'tis rock'", ["tis", "rock"]),
        ("twenty-two", ["twenty", "two"]),
        ("22 or twenty two", ["22", "or", "twenty", "two"]),  # numbers stay as they are written
        ("3.5 1,000 12:30 end.", ["3.5", "1,000", "12:30", "end"]),
        ("7. 8, 9:", ["7", "8", "9"]),
        ("50% of $20", ["50", "of", "20"]),
        ("Straße STRASSE", ["strasse", "strasse"]),
        ("\ufb01ne cafe\u0301 caf\u00e9", ["fine", "caf\u00e9", "caf\u00e9"]),  # ligature, combining accent
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),  # vowel signs are part of the word
        ("今天 天气", ["今", "天", "天", "气"]),
        ("iPhoneを買う", ["iphone", "を", "買", "う"]),
        ("مرحبا، بالعالم", ["مرحبا", "بالعالم"]),
        ("snake_case", ["snake", "case"]),
    ],
)
def test_words_are_compared_without_case_and_punctuation(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@given(st.text())
def test_normalizing_twice_changes_nothing(text: str) -> None:
    once = words(text)
    assert words(" ".join(once)) == once


@pytest.mark.parametrize(
    ("reference", "candidate", "distance"),
    [
        ("", "", 0),
        ("", "abc", 3),
        ("abc", "", 3),
        ("abc", "abc", 0),
        ("abc", "abd", 1),
        ("abc", "ac", 1),
        ("ac", "abc", 1),
        ("kitten", "sitting", 3),
        ("abcdef", "fedcba", 6),
        ("aaaa", "aa", 2),
        ("flaw", "lawn", 2),
    ],
)
def test_distance_is_the_fewest_changes(reference: str, candidate: str, distance: int) -> None:
    assert edit_distance(reference, candidate) == distance


def slow_distance(first: str, second: str) -> int:
    if not first or not second:
        return len(first) + len(second)
    return min(
        slow_distance(first[1:], second) + 1,
        slow_distance(first, second[1:]) + 1,
        slow_distance(first[1:], second[1:]) + (first[0] != second[0]),
    )


@given(st.text("abc", max_size=6), st.text("abc", max_size=6))
def test_distance_is_levenshtein_s(first: str, second: str) -> None:
    assert edit_distance(first, second) == slow_distance(first, second)


def test_errors_of_all_are_divided_by_words_of_all() -> None:
    pairs = [("one two three four", "one two three four"), ("five", "six seven"), ("Eight, nine.", "eight nine")]
    counted = word_errors(pairs)
    assert (counted.errors, counted.words) == (2, 7)
    assert counted.percent == pytest.approx(100 * 2 / 7)


def test_more_made_up_than_said_is_above_100_percent() -> None:
    assert word_errors([("yes", "no no no")]).percent == 300


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([], 1.0),
        ([((), ())], 1.0),
        ([((1, 2, 3, 4), (1, 2, 3, 4))], 1.0),
        ([((1, 2, 3, 4), (2, 3, 4))], 0.75),  # one left out does not shift the rest
        ([((1, 2), (3, 4))], 0.0),
        ([((1,), (1,)), ((1, 2, 3), (1, 2, 9))], 0.75),
        ([((), (1, 2))], 0.0),
    ],
)
def test_agreement_is_the_share_of_aligned_positions(
    pairs: list[tuple[tuple[int, ...], tuple[int, ...]]], expected: float
) -> None:
    assert agreement(pairs) == pytest.approx(expected)
