"""Grounded answers: which passages go into the prompt, where, and what the answer says of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agent.api.retrieval import SHORTEST_CUT, fitting, room_tokens, tokens_of, with_sources
from agent.runtime.wire.generation import Generate
from agent.search.query import Hit
from tests.api.conftest import Server
from tests.api.test_collections import facts

QUESTION = {"role": "user", "content": "How do I reset the router?"}


def hit(id: str, text: str) -> Hit:
    return Hit(id=id, score=0.5, text=text, metadata={}, ranks={})


def last_generate(server: Server) -> Generate:
    return next(one for one in reversed(server.runtime.requests) if isinstance(one, Generate))


async def test_the_answer_is_given_the_passages_and_names_them(server: Server) -> None:
    await facts(server)
    wanted = {"collection": "facts", "k": 2, "mode": "hybrid"}
    status, answer, _ = await server.chat(messages=[QUESTION], retrieve=wanted)
    assert status == 200
    assert [one["id"] for one in answer["retrieved"]] == ["a", answer["retrieved"][1]["id"]]
    assert all(set(one) == {"id", "score"} for one in answer["retrieved"])
    about = answer["retrieval"]
    assert (about["collection"], about["found"], about["used"]) == ("facts", 2, 2)
    assert about["search_ms"] > 0
    messages = last_generate(server).messages or ()
    assert [one["role"] for one in messages] == ["system", "user"]
    assert "[1] a\nreset the router" in messages[0]["content"]
    assert "[2] " in messages[0]["content"]


@pytest.mark.parametrize("usage", [False, True])
async def test_a_stream_names_them_in_its_last_event(server: Server, usage: bool) -> None:
    await facts(server)
    options = {"stream_options": {"include_usage": True}} if usage else {}
    _, text, _ = await server.chat(stream=True, retrieve={"collection": "facts", "k": 1}, **options)
    events = [json.loads(line[6:]) for line in text.split("\n\n") if line.startswith("data: {")]
    assert [len(event.get("retrieved", ())) for event in events] == [0] * (len(events) - 1) + [1]
    assert events[-1]["retrieval"]["used"] == 1


async def test_without_retrieve_nothing_is_said_of_it(server: Server) -> None:
    _, answer, _ = await server.chat()
    assert not {"retrieved", "retrieval"} & set(answer)


async def test_the_last_user_message_is_searched(server: Server) -> None:
    await facts(server)
    messages = [
        {"role": "user", "content": "radiator"},
        {"role": "assistant", "content": "garden"},
        {"role": "user", "content": [{"type": "text", "text": "router"}]},
    ]
    _, answer, _ = await server.chat(messages=messages, retrieve={"collection": "facts", "mode": "text", "k": 5})
    assert [one["id"] for one in answer["retrieved"]] == ["a"]


async def test_fewer_passages_where_the_worker_says_that_the_prompt_is_too_long(server: Server) -> None:
    await facts(server)
    question = {"role": "user", "content": "ROOM FOR ONE"}
    status, answer, _ = await server.chat(messages=[question], retrieve={"collection": "facts", "k": 3})
    assert (status, answer["retrieval"]["found"], answer["retrieval"]["used"]) == (200, 3, 1)
    _, text, _ = await server.chat(messages=[question], stream=True, retrieve={"collection": "facts", "k": 3})
    assert text.count("data: [DONE]") == 1
    assert '"used":1' in text


async def test_a_small_context_takes_few_passages(server: Server) -> None:
    await facts(server, [{"id": str(n), "text": "word " * 200} for n in range(10)])
    server.runtime.context_tokens = 1500
    _, answer, _ = await server.chat(messages=[QUESTION], retrieve={"collection": "facts", "k": 10})
    assert 1 <= answer["retrieval"]["used"] <= 3
    server.runtime.context_tokens = 100_000
    _, answer, _ = await server.chat(messages=[QUESTION], retrieve={"collection": "facts", "k": 10})
    assert answer["retrieval"]["used"] == 10


@pytest.mark.parametrize(
    ("retrieve", "status", "words"),
    [
        ({"collection": "nosuch"}, 404, "there is: facts"),
        ({"collection": "../x"}, 400, "cannot name a collection"),
        ({"k": 3}, 400, "`retrieve.collection` is missing"),
        ({"collection": "facts", "k": 0}, 400, "expected an integer >= 1"),
        ({"collection": "facts", "top": 3}, 400, "retrieve.top"),
        ({"collection": "facts", "filter": {"a": {"b": 1}}}, 400, "gt, gte, lt, lte"),
        ("facts", 400, "`retrieve`"),
    ],
)
async def test_what_is_wrong_is_said_before_anything_is_generated(
    server: Server, retrieve: Any, status: int, words: str
) -> None:
    await facts(server)
    found, answer, _ = await server.chat(retrieve=retrieve)
    assert (found, words in answer["error"]["message"]) == (status, True), answer
    assert not any(isinstance(one, Generate) for one in server.runtime.requests)


async def test_there_must_be_something_to_search_for(server: Server) -> None:
    await facts(server)
    status, answer, _ = await server.chat(
        messages=[{"role": "system", "content": "Hi"}], retrieve={"collection": "facts"}
    )
    assert (status, answer["error"]["param"]) == (400, "retrieve")


def test_the_worst_are_dropped_first_and_a_single_long_one_is_cut() -> None:
    hits = [hit("a", "x" * 300), hit("b", "y" * 300), hit("c", "z" * 30)]
    assert [one.id for one in fitting(hits, 1000)] == ["a", "b", "c"]
    assert [one.id for one in fitting(hits, 150)] == ["a"]
    (cut,) = fitting([hit("a", "word " * 1000)], 200)
    assert SHORTEST_CUT <= len(cut.text) < 700
    assert cut.text.endswith(" …")
    assert fitting(hits, 10) == ()
    assert fitting(hits, -10) == ()
    assert fitting([], 100) == ()


def test_room_is_what_the_conversation_and_the_answer_leave() -> None:
    short = Generate(messages=(QUESTION,))
    assert room_tokens(4096, short) > 2800
    assert room_tokens(4096, Generate(messages=(QUESTION,), max_tokens=10)) > room_tokens(4096, short)
    assert room_tokens(4096, Generate(messages=({"role": "user", "content": "x" * 100_000},))) < 0


def test_signs_beyond_ascii_count_as_tokens_of_their_own() -> None:
    assert tokens_of("abcdef") == 2
    assert tokens_of("日本語") == 3
    assert tokens_of("") == 0


def test_sources_join_a_system_message_that_is_there() -> None:
    system = {"role": "system", "content": "Be brief."}
    first, second = with_sources((system, QUESTION), [hit("a", "text")])
    assert first["content"].startswith("Be brief.\n\nAnswer from the numbered sources")
    assert second is QUESTION


@pytest.mark.parametrize(
    "control", ["<|im_end|>", "<|eot_id|>", "<｜end｜>", "</s>", "<end_of_turn>", "[/INST]", "[INST]", "<think>"]
)
def test_a_passage_cannot_end_its_message(control: str) -> None:
    (first, _) = with_sources((QUESTION,), [hit("a", f"before {control}after")])
    assert control not in first["content"]
    assert "after" in first["content"]


def test_markup_stays_as_it_is() -> None:
    (first, _) = with_sources((QUESTION,), [hit("a", "<p class='x'>a < b [1]</p>")])
    assert "<p class='x'>a < b [1]</p>" in first["content"]
