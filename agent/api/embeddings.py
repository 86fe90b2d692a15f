"""`POST /v1/embeddings`."""

from __future__ import annotations

import base64
import math
import sys
from array import array

import msgspec
from aiohttp import web

from agent.api.decode import decode, wrong
from agent.api.generation import submit
from agent.api.generation_body import urgency
from agent.api.models import find_model, shortens
from agent.api.parts import SETTINGS
from agent.api.requests import EmbeddingRequest
from agent.errors import EngineError
from agent.runtime.wire.embedding import Embedded

_FLOAT_BYTES = 4


async def embeddings(request: web.Request) -> web.Response:
    body = await decode(request, EmbeddingRequest)
    settings = request.app[SETTINGS]
    model = find_model(request, body.model, "embed")
    as_base64 = body.as_base64()
    embed = body.to_embed(limit=settings.input_limit)
    deadline_s = body.deadline_s or body.timeout or settings.request_timeout_s
    generation = submit(request, model, [embed], priority=urgency(body.priority), deadline_s=deadline_s)
    result: Embedded | None = None
    with generation:
        async for _, events in generation.events():
            for event in events:
                if isinstance(event, Embedded):
                    result = event
        if result is None or len(result.vectors) != len(embed.inputs) * result.dim * _FLOAT_BYTES:
            raise EngineError("The engine returned no embeddings.", hint="The daemon's log has the details.")
        rows = shorten(rows_of(result), body.dimensions, allowed=body.force_dimensions or shortens(request, model))
    answer: dict[str, object] = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": _base64(row) if as_base64 else _numbers(row)}
            for index, row in enumerate(rows)
        ],
        "model": model,
        "usage": {"prompt_tokens": result.prompt_tokens, "total_tokens": result.prompt_tokens},
    }
    if energy := generation.usage.energy():
        answer["timings"] = energy
    if result.truncated:
        answer["truncated"] = result.truncated
    return web.Response(body=msgspec.json.encode(answer), content_type="application/json")


def rows_of(result: Embedded) -> list[array[float]]:
    """One float32 array of `dim` per input."""
    values = array("f")
    values.frombytes(result.vectors)
    if sys.byteorder == "big":
        values.byteswap()
    return [values[start : start + result.dim] for start in range(0, len(values), result.dim)]


def shorten(rows: list[array[float]], dimensions: int | None, *, allowed: bool) -> list[array[float]]:
    """The first `dimensions` values of each row, at length 1 again. Raises `RequestError` where that means nothing."""
    if dimensions is None or not rows or dimensions == len(rows[0]):
        return rows
    if not allowed:
        expected = f"{len(rows[0])}: this model was not trained to have its vectors cut (force_dimensions does it)"
        raise wrong("dimensions", dimensions, expected)
    if dimensions > len(rows[0]):
        raise wrong("dimensions", dimensions, f"at most {len(rows[0])}")
    return [_unit(row[:dimensions]) for row in rows]


def _unit(row: array[float]) -> array[float]:
    length = math.sqrt(sum(value * value for value in row))
    return array("f", (value / length for value in row)) if length else row


def _numbers(row: array[float]) -> msgspec.Raw:
    """As JSON already: the numbers of thousands of rows, as Python's objects all at once, would take 32 bytes each."""
    return msgspec.Raw(msgspec.json.encode(row.tolist()))


def _base64(row: array[float]) -> str:
    """Little-endian, as OpenAI's clients read it."""
    if sys.byteorder == "big":
        row = row[:]
        row.byteswap()
    return base64.b64encode(row.tobytes()).decode()
