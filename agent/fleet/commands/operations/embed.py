"""`embed`: vectors of texts."""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta

from agent.errors import EngineError, RequestError
from agent.fleet.commands.operation import Args, Operation, Pieces
from agent.fleet.commands.operations.models import chosen
from agent.runtime.service import Runtime
from agent.runtime.wire.embedding import Embed, Embedded

INPUT_LIMIT = 256
_FLOAT_BYTES = 4


class EmbedArgs(Args, kw_only=True):
    """Embeddings, one vector for each text."""

    input: (
        Annotated[str, Meta(min_length=1)]
        | Annotated[list[Annotated[str, Meta(min_length=1)]], Meta(min_length=1, max_length=INPUT_LIMIT)]
    )
    model: Annotated[str, Meta(max_length=200)] | None = None
    prompt_name: Annotated[str, Meta(max_length=200, description='Like "query", where the model has such.')] | None = (
        None
    )
    truncate: bool = False
    encoding: Annotated[Literal["float", "base64"], Meta(description="base64: float32, little-endian.")] = "float"
    deadline_s: Annotated[float, Meta(gt=0, le=86_400)] | None = None


class EmbedOperation(Operation[EmbedArgs]):
    name = "embed"
    title = "Makes embeddings of texts."
    repeatable = True
    args = EmbedArgs

    def __init__(self, runtime: Runtime, *, client: str = "mqtt") -> None:
        self._runtime = runtime
        self._client = client

    async def run(self, args: EmbedArgs, *, pieces: Pieces) -> Mapping[str, Any]:
        model = chosen(self._runtime, args.model, "embed")
        if args.prompt_name is not None and args.prompt_name not in model.prompts:
            known = ", ".join(model.prompts) or "none"
            raise RequestError(
                f"{model.name} has no prompt {args.prompt_name!r}; it has: {known}.", param="prompt_name"
            )
        inputs = (args.input,) if isinstance(args.input, str) else tuple(args.input)
        request = Embed(inputs=inputs, prompt_name=args.prompt_name, truncate=args.truncate)
        done: Embedded | None = None
        stream = self._runtime.submit(model.name, request, client=self._client, deadline_s=args.deadline_s)
        async with stream:
            async for events in stream:
                done = next((event for event in events if isinstance(event, Embedded)), done)
            joules = await stream.joules()
        if done is None or len(done.vectors) != len(inputs) * done.dim * _FLOAT_BYTES:
            raise EngineError("The engine returned no embeddings.", hint="The device's log has the details.")
        row_bytes = done.dim * _FLOAT_BYTES
        rows = [done.vectors[start : start + row_bytes] for start in range(0, len(done.vectors), row_bytes)]
        return {
            "model": model.name,
            "dim": done.dim,
            "vectors": [base64.b64encode(row).decode() if args.encoding == "base64" else _floats(row) for row in rows],
            "prompt_tokens": done.prompt_tokens,
            "truncated": done.truncated,
            **({} if joules is None else {"joules": round(joules, 3)}),
        }


def _floats(row: bytes) -> list[float]:
    values = array("f", row)
    if sys.byteorder == "big":
        values.byteswap()
    return values.tolist()
