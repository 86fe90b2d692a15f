"""`model_rollback`: back to the version that was active before."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from agent.fleet.commands.device import Device
from agent.fleet.commands.operation import Operation, Pieces
from agent.fleet.commands.operations.model_load import ModelArgs
from agent.runtime.service import Runtime
from agent.store.store import Store


class ModelRollbackOperation(Operation[ModelArgs]):
    name = "model_rollback"
    title = "Activates the version of a model that was active before."
    repeatable = False
    args = ModelArgs

    def __init__(self, runtime: Runtime, store: Store, device: Device) -> None:
        self._runtime = runtime
        self._store = store
        self._device = device

    async def run(self, args: ModelArgs, *, pieces: Pieces) -> Mapping[str, Any]:
        """Also of a model that the runtime does not serve, as none of its versions is active."""
        named = [model.name for model in self._runtime.models() if args.model in (model.name, *model.aliases)]
        name = named[0] if named else args.model
        stored = await asyncio.to_thread(self._store.rollback, name)
        await self._device.models_changed()
        return {"model": name, "version": stored.version}
