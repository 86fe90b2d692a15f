"""Whole conversations to train on: turns of requests, questions and talk, answered in words or as JSON actions."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, Literal

from convert.starter.chat import manner, requests, status
from convert.starter.chat.family import HELD_OUT
from convert.starter.chat.followups import follow_up
from convert.starter.chat.pattern import draw, fill
from convert.starter.chat.replies import reply
from convert.starter.chat.smalltalk import SMALLTALK, Intent
from convert.starter.chat.split import is_held_out
from convert.starter.chat.status import Reading
from convert.starter.chat.topics import TOPIC_SLOTS
from convert.starter.chat.unknown import UNKNOWN
from convert.starter.chat.vocabulary import Action

Role = Literal["system", "user", "assistant"]
MOST_TURNS: Final = 6
INTENTS: Final[tuple[Intent, ...]] = (*SMALLTALK, *UNKNOWN)
_INTENT_WEIGHTS: Final = list(accumulate(intent.weight for intent in INTENTS))
_TURNS: Final = (54, 16, 11, 8, 6, 5)
"""In a hundred conversations, those of one question and answer, of two, up to six."""


@dataclass(frozen=True)
class Message:
    """`forced`: an answer that starts with `{` only because the caller's grammar says so; nothing in the conversation
    asks for JSON."""

    role: Role
    text: str
    forced: bool = False


@dataclass(frozen=True)
class Turn:
    """What is said, and what it means."""

    text: str
    action: Action
    words: str


def as_json(action: Action) -> str:
    """As the model writes it: compact."""
    return json.dumps(action, separators=(",", ":"), ensure_ascii=False)


def talk(rng: random.Random, *, held_out: bool = False, wording: bool = False) -> tuple[Intent, str]:
    """An intent and an opener of it: one to train on; with `held_out` a sentence that never is, with `wording` one of a
    whole way of saying it that never is."""
    while True:
        intent = rng.choices(INTENTS, cum_weights=_INTENT_WEIGHTS)[0]
        openers = [one for one in intent.openers if one.startswith(HELD_OUT) == wording]
        if openers:
            text = _opener(rng.choice(openers).removeprefix(HELD_OUT), rng)
            if wording or (is_held_out(text) and not intent.whole) == held_out:
                return intent, text


def _opener(pattern: str, rng: random.Random) -> str:
    return fill(draw(pattern, rng), lambda name: TOPIC_SLOTS[name](rng)[0])


def dialogue(rng: random.Random) -> list[Message]:
    """One conversation, with the answers that the model shall learn."""
    in_json = rng.random() < 0.48
    ordered = in_json and rng.random() < 0.12
    turns = 1 + rng.choices(range(MOST_TURNS), _TURNS)[0]
    known: list[Reading] = []
    first_question = None
    if rng.random() < 0.27:
        first_question = requests.taught(rng, check=True)
        known = _readings(first_question.action, rng)
    messages = []
    if known or ordered or rng.random() < 0.12:
        messages.append(Message("system", status.system_message(known, rng, json=ordered)))
    mixed = rng.random() < 0.1
    before: Action | None = None
    for number in range(turns):
        if number == 0 and first_question is not None:
            text = manner.said(first_question, rng, polite=requests.BY_NAME[first_question.family].polite)
            turn = Turn(text, first_question.action, status.answer(first_question.action, known, rng))
        else:
            turn = _turn(before, known, rng)
        before = turn.action
        json_now = in_json if not mixed else rng.random() < 0.5
        messages.append(Message("user", turn.text))
        messages.append(
            Message("assistant", as_json(turn.action) if json_now else turn.words, json_now and not ordered)
        )
    return messages


def _readings(question: Action, rng: random.Random) -> list[Reading]:
    """What is known when `question` is asked: mostly the answer to it, and other things."""
    found = status.readings(rng, rng.choices((0, 1, 2, 3, 4, 5), (3, 4, 4, 3, 2, 1))[0])
    target, room = status.asked(question)
    own = status.reading(target, room, rng)
    found = [one for one in found if (one.target, one.room) != (target, room)]
    if own is not None and rng.random() < 0.6:
        found.insert(rng.randint(0, len(found)), own)
    return found


def _turn(before: Action | None, known: list[Reading], rng: random.Random) -> Turn:
    if before is not None and rng.random() < 0.3 and (found := follow_up(before, rng)) is not None:
        text, action = found
        return Turn(manner.spoken(text, rng), action, _words(action, known, rng))
    if rng.random() < 0.3:
        intent, text = talk(rng)
        answer = draw(rng.choice(intent.answers), rng)
        return Turn(manner.spoken(text, rng), {"action": "none"}, answer)
    request = requests.taught(rng, check=bool(known) and rng.random() < 0.5)
    text = manner.said(request, rng, polite=requests.BY_NAME[request.family].polite)
    return Turn(text, request.action, _words(request.action, known, rng))


def _words(action: Action, known: list[Reading], rng: random.Random) -> str:
    if action["action"] == "check":
        return status.answer(action, known, rng)
    return reply(action, rng)


def dialogues(seed: int) -> Iterator[list[Message]]:
    """Conversations without end, the same for the same seed."""
    rng = random.Random(f"edge-agent starter-chat {seed}")
    while True:
        yield dialogue(rng)
