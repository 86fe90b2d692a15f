"""How good it is: held-out requests to actions, and the kind of its answers, through the engine that users run."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

from agent.runtime.wire.generation import Sampling
from convert.starter.chat import manner, requests, status
from convert.starter.chat.dialogue import INTENTS, talk
from convert.starter.chat.engine import Ask, ChatWorker
from convert.starter.chat.pattern import matcher
from convert.starter.chat.smalltalk import Intent
from convert.starter.chat.vocabulary import KEYS, Action, schema

REQUESTS: Final = 500
WORDINGS: Final = 200
OPENERS: Final = 300
QUESTIONS: Final = 200
_SEED: Final = 20261121
BAR_KEYS: Final = ("action", "target", "room", "value")
"""What has to be right for a request to count."""


@dataclass(frozen=True)
class Case:
    """What is said, and the action it means."""

    text: str
    action: Action


@dataclass(frozen=True)
class Scored:
    """`right` of `count`; `wrong` tells what was said, what was expected, what came."""

    count: int
    right: int
    wrong: tuple[tuple[str, str, str], ...]

    @property
    def share(self) -> float:
        return self.right / self.count


def held_out_requests(count: int = REQUESTS) -> list[Case]:
    """Sentences that training never draws, with the manners and slips that it does."""
    return _cases(count, requests.held_out)


def held_out_wordings(count: int = WORDINGS) -> list[Case]:
    """Ways of saying it that training never draws."""
    return _cases(count, lambda rng: requests.held_out(rng, wording=True))


def _cases(count: int, draw: Callable[[random.Random], Any]) -> list[Case]:
    rng = random.Random(_SEED)
    found: dict[str, Case] = {}
    while len(found) < count:
        request = draw(rng)
        text = manner.said(request, rng, polite=requests.BY_NAME[request.family].polite)
        found.setdefault(request.text, Case(text, request.action))
    return list(found.values())


def handwritten() -> list[Case]:
    """Requests written one by one, not by patterns: `handwritten.jsonl` beside this file."""
    lines = resources.files(__package__).joinpath("handwritten.jsonl").read_text("utf-8").splitlines()
    return [Case(one["text"], one["action"]) for one in map(json.loads, lines)]


def score_requests(worker: ChatWorker, cases: Sequence[Case], wanted: dict[str, Any] | None = None) -> Scored:
    """Answers under the grammar of `wanted`, the schema of actions unless given, greedily."""
    asks = [Ask(({"role": "user", "content": case.text},), schema() if wanted is None else wanted) for case in cases]
    wrong = []
    for case, answer in zip(cases, worker.answers(asks), strict=True):
        if not same(case.action, answer):
            wrong.append((case.text, json.dumps(case.action), answer))
    return Scored(len(cases), len(cases) - len(wrong), tuple(wrong))


def same(expected: Action, answer: str, keys: Sequence[str] = BAR_KEYS) -> bool:
    """Whether the JSON text `answer` has `expected`'s value, or its absence, for every one of `keys`."""
    try:
        found = json.loads(answer)
    except ValueError:
        return False
    return isinstance(found, dict) and all(expected.get(key) == found.get(key) for key in keys)


def exact_share(worker: ChatWorker, cases: Sequence[Case]) -> float:
    """As `score_requests`, all keys of the action and no others."""
    asks = [Ask(({"role": "user", "content": case.text},), schema()) for case in cases]
    answers = worker.answers(asks)
    return sum(same(case.action, answer, KEYS) for case, answer in zip(cases, answers, strict=True)) / len(cases)


def score_openers(worker: ChatWorker, count: int = OPENERS, *, wording: bool = False) -> Scored:
    """Openers of conversation that training never draws, or with `wording` in ways of saying it that it never does: an
    answer of the opener's own kind is right."""
    rng = random.Random(_SEED)
    drawn: list[tuple[Intent, str]] = []
    while len(drawn) < count:
        intent, text = talk(rng, held_out=True, wording=wording)
        drawn.append((intent, manner.spoken(text, rng)))
    answers = worker.answers([Ask(({"role": "user", "content": text},)) for _, text in drawn])
    wrong = [
        (text, intent.name, answer)
        for (intent, text), answer in zip(drawn, answers, strict=True)
        if not is_kind(intent.name, answer)
    ]
    return Scored(count, count - len(wrong), tuple(wrong))


def is_kind(name: str, answer: str) -> bool:
    """Whether the answer is one of the intent's."""
    intent = next(one for one in INTENTS if one.name == name)
    return any(matcher(pattern).fullmatch(answer) for pattern in intent.answers)


def score_questions(worker: ChatWorker, count: int = QUESTIONS) -> Scored:
    """Questions about the status, two in three with the answer in the system message: word for word, or no data."""
    rng = random.Random(_SEED)
    asks: list[Ask] = []
    expected: list[str] = []
    while len(asks) < count:
        request = requests.held_out(rng)
        if request.action["action"] != "check" or request.action.get("target") == "system":
            continue
        target, room = status.asked(request.action)
        own = status.reading(target, room, rng)
        known = [one for one in status.readings(rng, 3) if (one.target, one.room) != (target, room)]
        if own is not None and rng.random() < 2 / 3:
            known.insert(rng.randint(0, len(known)), own)
        system = status.system_message(known, rng, json=False)
        text = manner.said(request, rng, polite=requests.BY_NAME[request.family].polite)
        asks.append(Ask(({"role": "system", "content": system}, {"role": "user", "content": text})))
        expected.append(status.answer(request.action, known, rng))
    answers = worker.answers(asks)
    wrong = [
        (f"{ask.messages[0]['content']} / {ask.messages[1]['content']}", wanted, answer)
        for ask, wanted, answer in zip(asks, expected, answers, strict=True)
        if wanted != answer
    ]
    return Scored(count, count - len(wrong), tuple(wrong))


def score_words(worker: ChatWorker, count: int = QUESTIONS) -> float:
    """Share of requests that are answered in words when no JSON is asked for, sampled as the API does by default."""
    cases = held_out_requests(count)
    asks = [
        Ask(({"role": "user", "content": case.text},), sampling=Sampling(seed=number))
        for number, case in enumerate(cases)
    ]
    return sum(not answer.startswith("{") for answer in worker.answers(asks)) / count
