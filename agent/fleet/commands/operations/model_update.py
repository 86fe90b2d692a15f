"""`model_update`: another version of a model, fetched, tested on the device, and watched for a while."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from agent.fleet.commands.device import Device
from agent.fleet.commands.operation import Args, Operation, Pieces
from agent.updates.policy import Terms


class ModelUpdateArgs(Args, kw_only=True):
    """Which version of which model."""

    model: Annotated[str, Meta(min_length=1, max_length=128)]
    version: Annotated[str, Meta(max_length=128, description="The repository's latest one without it.")] | None = None
    policy: Terms = Terms()


class ModelUpdateOperation(Operation[ModelUpdateArgs]):
    """Begun again after a restart it joins the update that is under way. A command that is cleared takes it back."""

    name = "model_update"
    title = "Updates a model; ends when the new version has proved itself, or why it has not."
    repeatable = True
    args = ModelUpdateArgs

    def __init__(self, device: Device) -> None:
        self._device = device

    async def run(self, args: ModelUpdateArgs, *, pieces: Pieces) -> Mapping[str, Any]:
        return await self._device.update_model(args.model, args.version, msgspec.to_builtins(args.policy))

    async def withdraw(self, args: ModelUpdateArgs) -> None:
        await self._device.withdraw_update(args.model, args.version, msgspec.to_builtins(args.policy))
