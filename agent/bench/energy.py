"""What a stretch of work cost: read from the server, which has the meter, else from this board's own meter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from agent.bench.completion import check
from agent.bench.http import Http
from agent.bench.report import Power
from agent.errors import EdgeAgentError
from agent.hardware.power.choose import Choice
from agent.hardware.power.meter import Meter
from agent.hardware.power.sampler import EnergySampler

_KEY = "bench"


class Energy(Protocol):
    """`begin` and `end` enclose the work; `run` must go on meanwhile."""

    @property
    def power(self) -> Power: ...

    async def run(self) -> None: ...

    async def begin(self) -> None: ...

    async def end(self) -> float | None:
        """Joules since `begin`, all that the meter covers; None where they are not known in full."""
        ...


class NoEnergy:
    """Nothing measures."""

    def __init__(self, reason: str) -> None:
        self.power = Power(reason=reason)

    async def run(self) -> None:
        return None

    async def begin(self) -> None:
        return None

    async def end(self) -> float | None:
        return None


class StatusEnergy:
    """The counter of a daemon's own meter, in its `/status`: `energy`, an `EnergyStatus`."""

    def __init__(self, http: Http, energy: dict[str, Any]) -> None:
        self.power = Power(source=f"the server's meter: {energy.get('source')}", scope=str(energy.get("scope") or ""))
        self._http = http
        self._began: tuple[float, float] | None = None

    async def run(self) -> None:
        return None

    async def begin(self) -> None:
        self._began = await self._read()

    async def end(self) -> float | None:
        began, ended = self._began, await self._read()
        if began is None or ended is None or ended[1] > began[1]:
            return None
        return ended[0] - began[0]

    async def _read(self) -> tuple[float, float] | None:
        """Joules so far, and seconds in which they were not measured."""
        exchange = await self._http.get("/status")
        try:
            check(exchange)
            energy = exchange.json()["energy"]
            return float(energy["total_joules"]), float(energy["missing_s"])
        except (EdgeAgentError, ValueError, KeyError, TypeError):
            return None


class BoardEnergy:
    """A meter of this machine, read here every second."""

    def __init__(self, meter: Meter) -> None:
        self.power = Power(source=meter.source, scope=meter.scope)
        self._sampler = EnergySampler(meter)

    async def run(self) -> None:
        await self._sampler.run()

    async def begin(self) -> None:
        await self._sampler.sample()
        self._sampler.begin(_KEY)

    async def end(self) -> float | None:
        energy = await self._sampler.finish(_KEY)
        return None if energy is None or energy.missing_s > 0 else energy.joules


async def find_energy(http: Http, status: Any, choose: Callable[[], Choice] | None) -> Energy:
    """The server's meter where its `/status` has one, else what `choose` finds on this machine, if that is the
    server's."""
    energy = status.get("energy")
    if isinstance(energy, dict) and energy.get("source") and not energy.get("failure"):
        return StatusEnergy(http, energy)
    if choose is None:
        said = energy.get("failure") or energy.get("reason") if isinstance(energy, dict) else None
        return NoEnergy(str(said) if said else "The server tells of no meter, and is on another machine.")
    choice = await asyncio.to_thread(choose)
    return NoEnergy(choice.reason) if choice.meter is None else BoardEnergy(choice.meter)
