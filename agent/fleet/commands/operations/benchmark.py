"""`benchmark`: how fast a model is on this device, now."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta

from agent.errors import EngineError
from agent.fleet.commands.operation import Args, Operation, Pieces
from agent.fleet.commands.operations.models import chosen
from agent.runtime.queue import Priority
from agent.runtime.service import Runtime
from agent.runtime.wire.generation import Delta, Finished, Generate, Sampling

_PROMPT = "The quick brown fox jumps over the lazy dog. "
_CHARACTERS_PER_TOKEN = 4


class BenchmarkArgs(Args, kw_only=True):
    """Speed of a model that generates text. It waits behind other requests."""

    model: Annotated[str, Meta(max_length=200)] | None = None
    prompt_tokens: Annotated[int, Meta(ge=1, le=4096, description="About so many.")] = 128
    tokens: Annotated[int, Meta(ge=1, le=4096)] = 64
    runs: Annotated[int, Meta(ge=1, le=20, description="After a first one that does not count.")] = 3


class BenchmarkOperation(Operation[BenchmarkArgs]):
    name = "benchmark"
    title = "Measures a model's speed."
    repeatable = True
    args = BenchmarkArgs

    def __init__(self, runtime: Runtime, *, client: str = "mqtt") -> None:
        self._runtime = runtime
        self._client = client

    async def run(self, args: BenchmarkArgs, *, pieces: Pieces) -> Mapping[str, Any]:
        """Each run after the first, which may have to load the model, is a piece."""
        model = chosen(self._runtime, args.model, "generate").name
        runs: list[dict[str, Any]] = []
        for number in range(args.runs + 1):
            measured = await self._measure(model, args)
            if number:
                runs.append(measured)
                await pieces(measured)
        best = max(runs, key=lambda run: run["decode_tokens_per_second"] or 0.0)
        return {"model": model, "best": best, "runs": runs}

    async def _measure(self, model: str, args: BenchmarkArgs) -> dict[str, Any]:
        length = args.prompt_tokens * _CHARACTERS_PER_TOKEN
        request = Generate(
            prompt=(_PROMPT * (length // len(_PROMPT) + 1))[:length],
            max_tokens=args.tokens,
            sampling=Sampling(temperature=0.0),
            ignore_eos=True,
            cache_prompt=False,
        )
        started = time.monotonic()
        first_s: float | None = None
        finished: Finished | None = None
        async with self._runtime.submit(model, request, client=self._client, priority=Priority.LOW) as stream:
            async for events in stream:
                if first_s is None and any(isinstance(event, Delta) and event.tokens for event in events):
                    first_s = time.monotonic() - started
                finished = next((event for event in events if isinstance(event, Finished)), finished)
        if finished is None:
            raise EngineError("The run did not finish.")
        return {
            "prompt_tokens": finished.prompt_tokens,
            "completion_tokens": finished.completion_tokens,
            "first_token_s": None if first_s is None else round(first_s, 4),
            "prefill_tokens_per_second": _rate(finished.prompt_tokens, finished.prefill_s),
            "decode_tokens_per_second": _rate(finished.completion_tokens, finished.decode_s),
        }


def _rate(tokens: int, seconds: float) -> float | None:
    return round(tokens / seconds, 2) if seconds > 0 else None
