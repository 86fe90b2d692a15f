"""`model_load`: have a model in memory before it is needed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta

from agent.fleet.commands.operation import Args, Operation, Pieces
from agent.fleet.commands.operations.models import chosen
from agent.runtime.service import Runtime


class ModelArgs(Args, kw_only=True):
    """Which model."""

    model: Annotated[str, Meta(min_length=1, max_length=200)]


class ModelLoadOperation(Operation[ModelArgs]):
    name = "model_load"
    title = "Loads a model into memory, also one that had failed."
    repeatable = False
    args = ModelArgs

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def run(self, args: ModelArgs, *, pieces: Pieces) -> Mapping[str, Any]:
        name = chosen(self._runtime, args.model).name
        started = time.monotonic()
        await self._runtime.load(name)
        return {**standing(self._runtime, name), "took_s": round(time.monotonic() - started, 3)}


def standing(runtime: Runtime, name: str) -> dict[str, Any]:
    """How a model stands now."""
    model = chosen(runtime, name)
    return {"model": name, "version": model.version, "state": model.state, "charged_bytes": model.charged_bytes}
