"""Conversations to train on: made from a seed, true to what is known, valid where they are JSON."""

from __future__ import annotations

import itertools
import json
import random

import jsonschema
import pytest

from convert.starter.chat import status
from convert.starter.chat.dialogue import INTENTS, MOST_TURNS, Message, dialogues, talk
from convert.starter.chat.evaluation import is_kind
from convert.starter.chat.followups import follow_up
from convert.starter.chat.pattern import draw
from convert.starter.chat.split import normal
from convert.starter.chat.status import Reading
from convert.starter.chat.vocabulary import Action, schema


def made(seed: int, count: int = 1_500) -> list[list[Message]]:
    return list(itertools.islice(dialogues(seed), count))


def test_the_same_seed_makes_the_same_conversations() -> None:
    assert made(1, 200) == made(1, 200) != made(2, 200)


def test_users_and_the_assistant_take_turns() -> None:
    for talked in made(3):
        roles = [message.role for message in talked if message.role != "system"]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        assert 1 <= len(roles) // 2 <= MOST_TURNS
        assert all(message.role != "system" for message in talked[1:])


def test_answers_in_json_are_valid_actions_and_the_others_are_sentences() -> None:
    validator = jsonschema.Draft202012Validator(schema())
    kinds = {True: 0, False: 0}
    for message in itertools.chain.from_iterable(made(4)):
        if message.role == "assistant":
            kinds[in_json := message.text.startswith("{")] += 1
            if in_json:
                validator.validate(json.loads(message.text))
            else:
                assert message.text[-1] in ".!?"
                assert not message.forced
    assert min(kinds.values()) > 500


def test_users_write_lower_case() -> None:
    assert all(m.text == m.text.lower() for talked in made(5) for m in talked if m.role == "user")


def test_openers_that_are_held_out_are_never_taught() -> None:
    rng = random.Random(2)
    seen = {normal(talk(rng)[1]) for _ in range(5_000)}
    for wording in (False, True):
        assert not seen & {normal(talk(rng, held_out=True, wording=wording)[1]) for _ in range(500)}


def test_what_is_urgent_or_said_every_day_is_all_taught() -> None:
    rng = random.Random(3)
    judged = {intent.name for intent, _ in (talk(rng, held_out=True) for _ in range(2_000))}
    assert not judged & {intent.name for intent in INTENTS if intent.whole}
    assert any(intent.whole for intent in INTENTS if intent.name == "emergency")
    assert "user feels" in judged


@pytest.mark.parametrize("intent", INTENTS, ids=lambda intent: intent.name)
def test_every_answer_of_an_intent_counts_as_its_kind(intent: object) -> None:
    from convert.starter.chat.smalltalk import Intent

    assert isinstance(intent, Intent)
    rng = random.Random(1)
    assert all(is_kind(intent.name, draw(answer, rng)) for answer in intent.answers)
    assert not is_kind(intent.name, "Okay, turning on the light.")


KNOWN = [
    Reading("temperature", None, "54 C"),
    Reading("temperature", "garden", "8.5 C"),
    Reading("time", None, "17:43"),
]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ({"action": "check", "target": "temperature"}, "The temperature is 54 C."),
        ({"action": "check", "target": "temperature", "room": "garden"}, "The garden temperature is 8.5 C."),
        ({"action": "check", "target": "time"}, "It is 17:43."),
        (
            {"action": "check", "target": "temperature", "room": "office"},
            "I have no data about the temperature in the office.",
        ),
        ({"action": "check", "target": "front door"}, "I have no data about the front door."),
    ],
)
def test_questions_are_answered_from_what_is_known_and_nothing_else(question: Action, answer: str) -> None:
    assert status.answer(question, KNOWN, random.Random(0)) == answer


@pytest.mark.parametrize(
    ("before", "allowed"),
    [
        ({"action": "turn_on", "target": "light", "room": "kitchen"}, {"turn_on", "turn_off", "cancel"}),
        ({"action": "set", "target": "timer", "value": 5, "unit": "minutes"}, {"set", "cancel"}),
        ({"action": "lock", "target": "front door"}, {"unlock", "cancel"}),
        ({"action": "add", "target": "shopping list", "value": "milk"}, {"add", "cancel"}),
    ],
)
def test_a_follow_up_is_about_what_came_before(before: Action, allowed: set[str]) -> None:
    found = [one for seed in range(200) if (one := follow_up(before, random.Random(seed)))]
    assert {action["action"] for _, action in found} == allowed
    validator = jsonschema.Draft202012Validator(schema())
    for _, action in found:
        validator.validate(action)
        assert action["action"] == "cancel" or action["target"] == before["target"]


def test_nothing_follows_a_greeting() -> None:
    assert all(follow_up({"action": "none"}, random.Random(seed)) is None for seed in range(50))
