from __future__ import annotations

import json
from typing import Any

from openai import AsyncOpenAI

from agent.api.completions import TextOffsets
from agent.runtime.wire.generation import Generate
from tests.api.conftest import Server
from tests.api.scripted_runtime import TEXT, WORDS


async def complete(server: Server, prompt: Any, **fields: Any) -> dict[str, Any]:
    status, answer, _ = await server.post("/v1/completions", {"model": "tiny", "prompt": prompt, **fields})
    assert status == 200
    return answer  # type: ignore[no-any-return]


async def test_several_prompts_are_choices_in_order(server: Server) -> None:
    answer = await complete(server, ["a", "b", "c"], n=2, echo=True)
    assert [choice["text"][0] for choice in answer["choices"]] == ["a", "a", "b", "b", "c", "c"]
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3, 4, 5]
    assert answer["object"] == "text_completion"
    assert answer["usage"]["prompt_tokens"] == 33
    assert answer["usage"]["completion_tokens"] == 30
    assert len(server.runtime.requests) == 3


async def test_several_prompts_stream_together(server: Server) -> None:
    async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        texts: dict[int, str] = {}
        async for chunk in await client.completions.create(model="tiny", prompt=["a", "b"], n=2, stream=True):
            for choice in chunk.choices:
                texts[choice.index] = texts.get(choice.index, "") + choice.text
    assert texts == {0: TEXT, 1: TEXT, 2: TEXT, 3: TEXT}


async def test_one_failing_prompt_fails_the_request_and_frees_the_others(server: Server) -> None:
    status, answer, _ = await server.post("/v1/completions", {"model": "tiny", "prompt": ["SILENT", "FAIL"]})
    assert (status, answer["error"]["code"]) == (500, "engine_error")
    assert len(server.runtime.dropped) == 1


async def test_queue_full_for_the_last_prompt_takes_back_the_first(server: Server) -> None:
    server.runtime.capacity = 1
    status, _, _ = await server.post("/v1/completions", {"model": "tiny", "prompt": ["SILENT", "SILENT"]})
    assert status == 429
    assert len(server.runtime.dropped) == 1


async def test_logprobs_in_the_legacy_shape(server: Server) -> None:
    choice = (await complete(server, "ab", logprobs=1, echo=True))["choices"][0]
    assert choice["text"] == "ab" + TEXT
    logprobs = choice["logprobs"]
    assert logprobs["tokens"] == list(WORDS)
    assert logprobs["token_logprobs"] == [-0.5] * 5
    assert logprobs["top_logprobs"] == [{word: -0.5} for word in WORDS]
    for word, offset in zip(WORDS, logprobs["text_offset"], strict=True):
        assert choice["text"][offset:].startswith(word)


async def test_logprobs_stream_with_running_offsets(server: Server) -> None:
    body = {"model": "tiny", "prompt": "ab", "logprobs": 0, "echo": True, "stream": True}
    text, offsets, tokens = "", [], []
    async with server.http.post(f"{server.url}/v1/completions", json=body) as response:
        async for line in response.content:
            if line.startswith(b"data: {"):
                choice = json.loads(line[6:])["choices"][0]
                text += choice["text"]
                if choice["logprobs"]:
                    offsets += choice["logprobs"]["text_offset"]
                    tokens += choice["logprobs"]["tokens"]
    assert all(text[offset:].startswith(token) for offset, token in zip(offsets, tokens, strict=True))
    assert len(offsets) == 5


async def test_tokens_go_through_as_they_are(server: Server) -> None:
    await complete(server, [1, 2, 3], max_tokens=0, best_of=1)
    assert server.runtime.requests == [Generate(prompt=(1, 2, 3), max_tokens=0)]


def test_characters_split_over_tokens_count_once() -> None:
    offsets = TextOffsets()
    pieces = [b"a", b"\xc3", b"\xb6", b"b", b"\xf0\x9f", b"\x8e\x89", b"c"]
    assert [offsets.next(piece) for piece in pieces] == [0, 1, 1, 2, 3, 3, 4]
