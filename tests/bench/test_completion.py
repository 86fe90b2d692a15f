from __future__ import annotations

import json
from typing import Any

import pytest

from agent.bench.completion import Completion, read_completion, together_per_s
from agent.bench.http import Exchange
from agent.bench.response import Response
from agent.errors import EdgeAgentError, ModelNotFoundError, QueueFullError, RequestError, UnavailableError


def stream(*events: tuple[float, Any], error: str = "") -> Exchange:
    response = Response()
    response.status = 200
    response.events = [(at, data if isinstance(data, bytes) else json.dumps(data).encode()) for at, data in events]
    return Exchange(began_s=9.0, sent_s=10.0, ended_s=20.0, response=response, error=error)


def refused(status: int, body: bytes, **headers: str) -> Exchange:
    response = Response()
    response.status, response.headers, response.body = status, headers, bytearray(body)
    return Exchange(began_s=9.0, sent_s=10.0, ended_s=20.0, response=response)


def said(text: str) -> dict[str, Any]:
    return {"choices": [{"text": text}]}


def delta(**content: Any) -> dict[str, Any]:
    return {"choices": [{"delta": content}]}


END = {"choices": [{"text": "", "finish_reason": "length"}]}
USAGE = {"choices": [], "usage": {"prompt_tokens": 40, "completion_tokens": 11}}


def test_speeds_are_of_the_tokens_that_the_server_counts_not_of_chunks() -> None:
    timings = {"predicted_per_second": 5.0, "prompt_per_second": 20.0}
    usage = {**USAGE["usage"], "prompt_tokens_details": {"cached_tokens": 10}}
    answer = read_completion(
        stream(
            *((at, said(text)) for at, text in ((12.0, "a"), (13.0, "bcd"), (13.5, "e"))),
            (14.0, END),
            (14.0, {"usage": usage, "timings": timings}),
        )
    )
    assert answer.text_s == (12.0, 13.0, 13.5)
    assert answer.first_s == 2.0
    assert answer.tokens_per_s == pytest.approx(10 / 2)
    assert answer.prompt_tokens_per_s == pytest.approx(30 / 2)
    assert (answer.server_tokens_per_s, answer.server_prompt_tokens_per_s) == (5.0, 20.0)


@pytest.mark.parametrize(
    ("events", "first_s"),
    [
        ([(11.0, delta(role="assistant")), (12.0, delta(content="a"))], 2.0),
        ([(11.0, delta(role="assistant", content="")), (12.5, delta(reasoning_content="hm"))], 2.5),
        ([(11.0, delta(reasoning="hm"))], 1.0),
        ([(11.0, delta(role="assistant")), (12.0, END)], None),
    ],
)
def test_the_first_text_is_not_the_role(events: list[tuple[float, Any]], first_s: float | None) -> None:
    assert read_completion(stream(*events)).first_s == first_s


def test_an_answer_that_came_in_one_piece_has_no_speed() -> None:
    answer = read_completion(stream(*((12.0, said("a")) for _ in range(10)), (12.001, END), (12.001, USAGE)))
    assert (answer.completion_tokens, answer.tokens_per_s) == (11, None)


def test_without_usage_no_speed_is_made_up() -> None:
    texts = [(11.0 + at, said("a")) for at in range(4)]
    answer = read_completion(stream(*texts, (14.0, END), (14.0, b"[DONE]")))
    assert (answer.first_s, answer.tokens_per_s, answer.prompt_tokens_per_s) == (1.0, None, None)


@pytest.mark.parametrize(
    ("exchange", "kind", "message"),
    [
        (refused(429, b'{"error": {"message": "full", "code": "queue_full"}}'), QueueFullError, "full"),
        (refused(404, b'{"error": {"message": "no x", "code": "model_not_found"}}'), ModelNotFoundError, "no x"),
        (refused(404, b'{"error": "model x not found"}'), RequestError, "model x not found"),
        (refused(400, b"<html>"), RequestError, "status 400"),
        (refused(500, b"[" * 100_000), EdgeAgentError, "status 500"),
        (stream((11.0, {"error": {"message": "died", "code": "worker_crashed"}})), EdgeAgentError, "died"),
        (stream((11.0, said("a")), error="connection reset by peer"), UnavailableError, "reset by peer"),
        (stream((11.0, b"{")), UnavailableError, "no JSON"),
        (stream(), UnavailableError, "did not stream"),
    ],
)
def test_what_goes_wrong_is_the_server_s_own_error(exchange: Exchange, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        read_completion(exchange)


def test_a_full_queue_says_when_to_come_again() -> None:
    with pytest.raises(QueueFullError) as caught:
        read_completion(refused(429, b"", **{"retry-after": "7"}))
    assert caught.value.retry_after_s == 7


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        # Both run from 2 to 4: events at 3 and 4 of the first, at 2.5, 3.5 of the second, which are two tokens each.
        ([((1, 2, 3, 4), 4), ((2, 2.5, 3.5, 4.5), 8)], (2 + 2 * 2) / 2),
        ([((1, 2, 3), 3)], 2 / 2),
        ([((1, 2), 2), ((3, 4), 2)], None),
        ([((1, 2), None)], None),
        ([((), 2)], None),
    ],
)
def test_speed_together_is_of_the_time_in_which_all_run(
    answers: list[tuple[tuple[float, ...], int | None]], expected: float | None
) -> None:
    parsed = [
        Completion(sent_s=0.0, text_s=text_s, ended_s=text_s[-1] if text_s else 0.0, completion_tokens=tokens)
        for text_s, tokens in answers
    ]
    assert together_per_s(parsed) == (None if expected is None else pytest.approx(expected))
