"""Requests: made from a seed, valid, and never the same for training and judging."""

from __future__ import annotations

import random
import re
from collections import Counter

import jsonschema
import pytest

from convert.starter.chat import evaluation, manner, requests
from convert.starter.chat.pattern import draw, slots
from convert.starter.chat.requests import BY_NAME, FAMILIES
from convert.starter.chat.slots import SLOTS
from convert.starter.chat.split import is_held_out, normal
from convert.starter.chat.vocabulary import schema

DRAWN = 6_000


def taught(seed: int, count: int = DRAWN) -> list[requests.Request]:
    rng = random.Random(seed)
    return [requests.taught(rng) for _ in range(count)]


def test_the_same_seed_makes_the_same_requests() -> None:
    assert taught(1, 500) == taught(1, 500) != taught(2, 500)


def test_what_is_judged_was_never_taught() -> None:
    seen = {normal(request.text) for seed in range(3) for request in taught(seed)}
    rng = random.Random(9)
    kept = {normal(requests.held_out(rng).text) for _ in range(1_000)}
    assert len(kept) > 500
    assert not seen & kept


def test_wordings_that_are_held_out_are_never_taught() -> None:
    rng = random.Random(4)
    kept = [requests.held_out(rng, wording=True) for _ in range(500)]
    seen = {normal(request.text) for request in taught(5)}
    assert not seen & {normal(request.text) for request in kept}


def test_punctuation_case_and_spaces_do_not_make_another_sentence() -> None:
    assert is_held_out("Turn on,  the LIGHT!") == is_held_out("turn on the light")


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_wording_makes_a_valid_action(family: requests.Family) -> None:
    validator = jsonschema.Draft202012Validator(schema())
    rng = random.Random(family.name)
    for held_out in (False, True):
        for _ in range(30 if not held_out else 5 * bool(family.held_out())):
            request = family.draw(rng, SLOTS, held_out=held_out)
            validator.validate(request.action)
            assert not re.search(r"[{}()|~]|  ", request.text), request.text
            if isinstance(request.action.get("value"), str) and family.name not in FIXED_VALUES:
                assert _digits(request.action["value"]).replace(" ", "") in _digits(request.text).replace(" ", "")


FIXED_VALUES = {family.name for family in FAMILIES if "value" in family.fixed}


def _digits(text: str) -> str:
    from convert.starter.chat.numbers import ONES

    for number, word in enumerate(ONES[:10]):
        text = re.sub(rf"\b{word}\b", str(number), text)
    return text


def test_no_wording_uses_a_slot_twice() -> None:
    rng = random.Random(0)
    for family in FAMILIES:
        for wording in (*family.taught(), *family.held_out()):
            for _ in range(20):
                names = slots(draw(wording, rng))
                assert len(names) == len(set(names)), wording


def test_names_of_families_are_their_own() -> None:
    assert len(BY_NAME) == len(FAMILIES)


def test_sentences_that_mean_two_things_are_rare() -> None:
    meant: dict[str, set[str]] = {}
    for request in taught(8, 20_000):
        meant.setdefault(normal(request.text), set()).add(str(request.action))
    assert sum(len(actions) > 1 for actions in meant.values()) / len(meant) < 0.002


def test_words_that_an_action_repeats_are_never_misspelled() -> None:
    rng = random.Random(6)
    for request in taught(7, 2_000):
        said = manner.said(request, rng, polite=BY_NAME[request.family].polite)
        value = request.action.get("value")
        if isinstance(value, str) and value in request.text and request.family in ("add item", "remind", "play"):
            assert all(word in said for word in value.split()), said


def test_evaluations_are_the_same_every_time_and_hold_different_requests() -> None:
    first, again = evaluation.held_out_requests(200), evaluation.held_out_requests(200)
    assert first == again
    assert Counter(case.text for case in first).most_common(1)[0][1] == 1


def test_handwritten_requests_are_valid() -> None:
    validator = jsonschema.Draft202012Validator(schema())
    cases = evaluation.handwritten()
    assert len(cases) > 100
    for case in cases:
        validator.validate(case.action)


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ('{"action":"set","target":"light","value":30,"unit":"percent"}', True),
        ('{"action":"set","target":"light","value":30}', True),
        ('{"action":"set","target":"light","value":"30"}', False),
        ('{"action":"set","target":"light","room":"kitchen","value":30}', False),
        ('{"action":"set","target":"light"}', False),
        ('{"action":"set"', False),
        ("[]", False),
        ("Okay.", False),
    ],
)
def test_a_request_counts_only_with_action_target_room_and_value(answer: str, right: bool) -> None:
    expected = {"action": "set", "target": "light", "value": 30, "unit": "percent"}
    assert evaluation.same(expected, answer) is right
