from __future__ import annotations

from typing import Any

import pytest
from openai import APIError, AsyncOpenAI, BadRequestError, InternalServerError, NotFoundError

from agent.runtime.queue import Priority
from agent.runtime.wire.generation import Generate, Sampling
from tests.api.conftest import Serve, Server
from tests.api.scripted_runtime import TEXT, WORDS

HI: Any = [{"role": "user", "content": "Hi"}]


@pytest.fixture
async def client(server: Server) -> Any:
    async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


async def test_official_client_gets_an_answer(client: AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="tiny", messages=HI, n=2, logprobs=True, top_logprobs=3)
    assert answer.id.startswith("chatcmpl-")
    assert answer.model == "org/tiny"
    assert [choice.message.content for choice in answer.choices] == [TEXT, TEXT]
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].logprobs is not None
    assert answer.choices[0].logprobs.content is not None
    assert [token.token for token in answer.choices[0].logprobs.content] == list(WORDS)
    assert answer.choices[0].logprobs.content[1].bytes == list(WORDS[1].encode())
    assert answer.usage is not None
    assert answer.usage.model_dump()["prompt_tokens_details"]["cached_tokens"] == 3
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (11, 10, 21)


async def test_official_client_streams(client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="tiny", messages=HI, stream=True, n=2, stream_options={"include_usage": True}
    )
    texts, reasons, usages, roles = ["", ""], {}, [], []
    async for chunk in stream:
        usages.append(chunk.usage)
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            roles.append(choice.delta.role)
            if choice.finish_reason:
                reasons[choice.index] = choice.finish_reason
    assert texts == [TEXT, TEXT]
    assert reasons == {0: "stop", 1: "stop"}
    assert roles[:2] == ["assistant", "assistant"]
    assert usages[-1] is not None
    assert usages[-1].completion_tokens == 10
    assert usages[:-1] == [None] * (len(usages) - 1)


async def test_official_client_streams_logprobs(client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(model="tiny", messages=HI, stream=True, logprobs=True)
    tokens = [
        token.token
        async for chunk in stream
        for choice in chunk.choices
        if choice.logprobs
        for token in choice.logprobs.content or ()
    ]
    assert tokens == list(WORDS)


async def test_official_client_sees_errors_as_its_own(client: AsyncOpenAI) -> None:
    with pytest.raises(NotFoundError, match="no model called 'nope'"):
        await client.chat.completions.create(model="nope", messages=HI)
    with pytest.raises(BadRequestError, match="temperature"):
        await client.chat.completions.create(model="tiny", messages=HI, temperature=-1)
    with pytest.raises(InternalServerError, match="grammar cannot be parsed"):
        await client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "FAIL"}], stream=True)


async def test_error_in_mid_stream_is_an_event(client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": "CRASH"}], stream=True
    )
    texts: list[str] = []

    async def read() -> None:
        async for chunk in stream:
            texts.append(chunk.choices[0].delta.content or "")

    with pytest.raises(APIError, match="worker died") as caught:
        await read()
    assert "".join(texts) == "Once"
    assert caught.value.code == "worker_crashed"


async def test_stream_on_the_wire(server: Server) -> None:
    body = {"model": "tiny", "messages": HI, "stream": True}
    async with server.http.post(f"{server.url}/v1/chat/completions", json=body) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-cache"
        assert len(response.headers["X-Request-Id"]) == 24
        lines = (await response.read()).decode().split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    assert all(line.startswith("data: ") for line in lines[:-1])
    assert '"timings":{"cache_n":3,"prompt_n":8,"prompt_ms":20.0,"prompt_per_second":400.0' in lines[-3]
    assert '"predicted_n":5,"predicted_ms":100.0,"predicted_per_second":40.0}' in lines[-3]
    assert '"usage"' not in "".join(lines)
    async with server.http.post(
        f"{server.url}/v1/chat/completions", json={**body, "stream_options": {"include_usage": True}}
    ) as response:
        lines = (await response.read()).decode().split("\n\n")
    assert '"choices":[],"usage":{"prompt_tokens":11' in lines[-3]
    assert '"timings"' in lines[-3]
    assert '"timings"' not in "".join(lines[:-3])
    assert all('"usage":null' in line for line in lines[:-3])


async def test_request_reaches_the_runtime_as_said(serve: Serve) -> None:
    server = await serve(sampling={"org/tiny": {"temperature": 0.1, "top_k": 5}})
    tools = [{"type": "function", "function": {"name": "lamp", "parameters": {"type": "object"}}}]
    status, _, _ = await server.post(
        "/v1/chat/completions",
        {
            "model": "gpt-4o",
            "messages": [
                {"role": "developer", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
                {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
                {"role": "tool", "content": "on", "tool_call_id": "1"},
            ],
            "tools": tools,
            "tool_choice": "auto",
            "max_completion_tokens": 3,
            "top_k": -1,
            "seed": 2**32 + 41,
            "stop": "END",
            "logit_bias": {"50": -100, "7": 1.5},
            "dry_sequence_breakers": ["\n"],
            "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
            "cache_prompt": False,
            "context_shift": True,
            "ignore_eos": True,
            "chat_template_kwargs": {"enable_thinking": False},
            "reasoning_effort": "low",
            "priority": "high",
            "deadline_s": 12,
            "user": "someone",
            "store": True,
            "metadata": {"a": "b"},
        },
        X_Client_Id="kitchen",
    )
    assert status == 200
    assert server.runtime.requests == [
        Generate(
            messages=(
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "a\nb"},
                {"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]},
                {"role": "tool", "content": "on", "tool_call_id": "1"},
            ),
            tools=tuple(tools),
            template_arguments={"enable_thinking": False, "reasoning_effort": "low"},
            max_tokens=3,
            sampling=Sampling(
                temperature=0.1,
                top_k=0,
                seed=42,
                logit_bias=((50, -100.0), (7, 1.5)),
                dry_sequence_breakers=("\n",),
            ),
            stop=("END",),
            json_schema={"type": "object"},
            cache_prompt=False,
            context_shift=True,
            ignore_eos=True,
        )
    ]
    assert server.runtime.submissions == [("org/tiny", "127.0.0.1/kitchen", Priority.HIGH, 12)]


async def test_defaults_are_the_engines(serve: Serve) -> None:
    server = await serve(request_timeout_s=77)
    await server.chat()
    assert server.runtime.requests == [Generate(messages=({"role": "user", "content": "Hi"},))]
    assert server.runtime.submissions == [("org/tiny", "127.0.0.1", Priority.NORMAL, 77)]


async def test_model_may_be_left_out_when_there_is_one(server: Server) -> None:
    status, answer, _ = await server.post("/v1/chat/completions", {"messages": HI})
    assert (status, answer["model"]) == (200, "org/tiny")


async def test_length_is_the_reason_when_the_limit_ends_it(server: Server) -> None:
    _, answer, _ = await server.chat(max_tokens=2)
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["choices"][0]["message"]["content"] == "".join(WORDS[:2])


async def test_full_queue_says_when_to_come_back(server: Server) -> None:
    server.runtime.capacity = 0
    for stream in (False, True):
        status, answer, headers = await server.chat(stream=stream)
        assert (status, headers["Retry-After"]) == (429, "3")
        assert answer["error"]["type"] == "rate_limit_error"
        assert answer["error"]["code"] == "queue_full"
