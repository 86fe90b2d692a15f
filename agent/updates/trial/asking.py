"""One request to a model on trial, from the question to what its answer comes to."""

from __future__ import annotations

import array
import math
import sys
from collections.abc import Callable

from agent.errors import EdgeAgentError
from agent.runtime.stream import Stream
from agent.runtime.wire.embedding import Embedded
from agent.runtime.wire.generation import Delta
from agent.runtime.wire.messages import Event, Request
from agent.runtime.wire.transcription import Transcribed
from agent.updates.trial.golden import Case, Cosine, Exact, Json, Perplexity, Wer
from agent.updates.trial.judge import Answers
from agent.updates.trial.scores import cosine, is_exact, is_json, word_errors

_SHOWN_CHARACTERS = 120

Ask = Callable[[Request], Stream]


async def collect(stream: Stream) -> list[Event]:
    """All events of a request. Raises the request's `EdgeAgentError`; it is cancelled when this is."""
    events: list[Event] = []
    async with stream:
        async for arrived in stream:
            events += arrived
    return events


def score(case: Case, events: list[Event], answers: Answers) -> None:
    """Add what a model answered to `case`."""
    answers.asked += 1
    match case:
        case Exact():
            _note(answers, answers.exact, is_exact(_text(events), case.answers), events)
        case Json():
            _note(answers, answers.json, is_json(_text(events), case.keys), events)
        case Perplexity():
            answers.logprobs += _prompt_logprobs(events)
        case Cosine():
            answers.cosines.append(cosine(_vector(events), case.reference()))
        case Wer():
            errors, said = word_errors(case.text, _text(events))
            answers.word_errors += errors
            answers.words += said


def described(error: EdgeAgentError) -> str:
    """An error as the end of a sentence."""
    return error.message.rstrip(".")


def _note(answers: Answers, outcomes: list[bool], right: bool, events: list[Event]) -> None:
    outcomes.append(right)
    if not right and not answers.first_wrong:
        answers.first_wrong = ascii(_text(events)[:_SHOWN_CHARACTERS])


def _text(events: list[Event]) -> str:
    parts = [event.text for event in events if isinstance(event, Delta)]
    parts += [segment.text for event in events if isinstance(event, Transcribed) for segment in event.segments]
    return "".join(parts)


def _prompt_logprobs(events: list[Event]) -> list[float]:
    """Of the prompt's tokens but the first, which nothing predicts. One infinite value where there are none."""
    entries = [
        token.logprob
        for event in events
        if isinstance(event, Delta) and event.logprobs and not event.tokens
        for token in event.logprobs
    ]
    return entries[1:] or [-math.inf]


def _vector(events: list[Event]) -> tuple[float, ...]:
    values = array.array("f")
    for event in events:
        if isinstance(event, Embedded):
            values.frombytes(event.vectors)
    if sys.byteorder == "big":
        values.byteswap()
    return tuple(values)
