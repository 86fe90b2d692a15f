"""`model_unload`: give a model's memory back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.fleet.commands.operation import Operation, Pieces
from agent.fleet.commands.operations.model_load import ModelArgs, standing
from agent.fleet.commands.operations.models import chosen
from agent.runtime.service import Runtime


class ModelUnloadOperation(Operation[ModelArgs]):
    name = "model_unload"
    title = "Unloads a model once what it runs has finished."
    repeatable = False
    args = ModelArgs

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def run(self, args: ModelArgs, *, pieces: Pieces) -> Mapping[str, Any]:
        name = chosen(self._runtime, args.model).name
        await self._runtime.unload(name)
        return standing(self._runtime, name)
