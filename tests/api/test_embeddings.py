from __future__ import annotations

import math
from typing import Any

import pytest
from openai import AsyncOpenAI

from agent.runtime.wire.embedding import Embed
from tests.api.conftest import Serve, Server


async def test_official_client_gets_vectors_in_both_encodings(server: Server) -> None:
    async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        for encoding in ("float", "base64", None):
            extra: Any = {} if encoding is None else {"encoding_format": encoding}
            answer = await client.embeddings.create(model="vectors", input=["a", "b"], **extra)
            assert len(answer.data) == 2
            if encoding != "base64":
                assert answer.data[1].embedding == pytest.approx([0.6, 0.8, 0, 0, 0, 0, 0, 1.0])
            assert answer.usage.prompt_tokens == 8
    assert server.runtime.requests[0] == Embed(inputs=("a", "b"))


async def test_base64_is_little_endian_float32(server: Server) -> None:
    _, answer, _ = await server.post("/v1/embeddings", {"input": [1, 2], "encoding_format": "base64"})
    assert answer["data"][0]["embedding"].startswith("mpkZP83MTD8AAAAA")
    assert server.runtime.requests == [Embed(inputs=((1, 2),))]


async def test_dimensions_only_where_vectors_may_be_cut(serve: Serve) -> None:
    server = await serve()
    status, answer, _ = await server.post("/v1/embeddings", {"input": "a", "dimensions": 1})
    assert status == 400
    assert "expected 8: this model was not trained to have its vectors cut" in answer["error"]["message"]
    assert (await server.post("/v1/embeddings", {"input": "a", "dimensions": 8}))[0] == 200

    _, answer, _ = await server.post("/v1/embeddings", {"input": "a", "dimensions": 1, "force_dimensions": True})
    assert answer["data"][0]["embedding"] == [1.0]

    server.runtime.shortens.add("vectors")
    _, answer, _ = await server.post("/v1/embeddings", {"input": "a", "dimensions": 1})
    assert answer["data"][0]["embedding"] == [1.0]
    _, answer, _ = await server.post("/v1/embeddings", {"input": "a", "dimensions": 5})
    assert math.hypot(*answer["data"][0]["embedding"]) == pytest.approx(1)
    assert (await server.post("/v1/embeddings", {"input": "a", "dimensions": 9}))[0] == 400


async def test_a_model_for_something_else_is_refused(server: Server) -> None:
    status, answer, _ = await server.post("/v1/embeddings", {"input": "a", "model": "tiny"})
    assert (status, answer["error"]["message"]) == (400, "org/tiny generates text. There is vectors.")
    status, answer, _ = await server.post("/v1/completions", {"prompt": "a", "model": "vectors"})
    assert (status, answer["error"]["message"]) == (400, "vectors makes embeddings. There is org/tiny.")
