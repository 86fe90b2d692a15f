"""`restart`: the daemon, or the whole device. That a new start has come is the proof that it has happened."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, Final

from msgspec import Meta

from agent.errors import UnavailableError
from agent.fleet.commands.device import Device, Restarted
from agent.fleet.commands.operation import Args, Instance, Operation, Pieces
from agent.hardware.sensors.boot import names_a_boot

PATIENCE_S: Final = 120.0


class RestartArgs(Args, kw_only=True):
    """What shall restart."""

    what: Annotated[Restarted, Meta(description="The daemon, or the device it runs on.")] = "agent"


class RestartOperation(Operation[RestartArgs]):
    name = "restart"
    title = "Restarts the daemon or the device."
    repeatable = False
    args = RestartArgs

    def __init__(self, device: Device, *, patience_s: float = PATIENCE_S) -> None:
        self._device = device
        self._patience_s = patience_s

    async def run(self, args: RestartArgs, *, pieces: Pieces) -> Mapping[str, Any]:
        """Does not return where all goes well: the next start says how it went."""
        await self._device.restart(args.what)
        await asyncio.sleep(self._patience_s)
        raise UnavailableError(f"The {args.what} did not restart within {self._patience_s:g} s.")

    def recognize(self, args: RestartArgs, then: Instance, now: Instance) -> Mapping[str, Any] | None:
        another_boot = then.boot != now.boot and names_a_boot(then.boot) and names_a_boot(now.boot)
        happened = another_boot if args.what == "device" else then != now
        return {"restarted": args.what, "boot_id": now.boot} if happened else None
