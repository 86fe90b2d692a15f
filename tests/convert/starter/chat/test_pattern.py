"""Sentence patterns: what they can become, and what is malformed."""

from __future__ import annotations

import random

import pytest

from convert.starter.chat.pattern import draw, fill, matcher, parse, slots


def every(pattern: str) -> set[str]:
    rng = random.Random(0)
    return {draw(pattern, rng) for _ in range(300)}


@pytest.mark.parametrize(
    ("pattern", "texts"),
    [
        ("turn on the light", {"turn on the light"}),
        ("(turn|switch) on", {"turn on", "switch on"}),
        ("play( some|) music", {"play some music", "play music"}),
        ("(a (b|c)|d) {room}", {"a b {room}", "a c {room}", "d {room}"}),
        ("(hello|hi)(, you|)!", {"hello, you!", "hello!", "hi, you!", "hi!"}),
        ("the (big |)lamp ( now|)", {"the big lamp now", "the lamp now", "the big lamp", "the lamp"}),
    ],
)
def test_a_pattern_becomes_each_of_its_alternatives(pattern: str, texts: set[str]) -> None:
    assert every(pattern) == texts


@pytest.mark.parametrize("pattern", ["(a|b", "a|b)", "a)", "((a)"])
def test_parentheses_that_do_not_match_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="parenthesis"):
        parse(pattern)


def test_slots_are_filled_in_order() -> None:
    names = iter(("kitchen", "light"))
    assert slots("the {room} {light}") == ["room", "light"]
    assert fill("the {room} {light}", lambda name: next(names)) == "the kitchen light"


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("Okay, the kitchen lamp is on.", True),
        ("okay, the kitchen lamp is off.", True),
        ("Okay, the  is on.", False),
        ("Okay, the lamp is gone.", False),
    ],
)
def test_a_matcher_knows_what_a_pattern_could_make(text: str, matches: bool) -> None:
    found = matcher("Okay, the {thing} is (on|off).").fullmatch(text)
    assert (found is not None) == matches


def test_whatever_is_drawn_matches() -> None:
    pattern = "(set|put)( the|) {thing} (to|at) (five|six)( percent|)( now|)"
    assert all(matcher(pattern).fullmatch(text) for text in every(pattern))
