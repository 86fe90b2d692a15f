"""Where one version of a model stands, and on what terms: it serves under its name, is tried beside the version that
does, or has been retired. If there is no room for both, the one that serves stands aside: its requests wait."""

from __future__ import annotations

from typing import Protocol

from agent.errors import MemoryBudgetError
from agent.runtime.budget import MemoryBudget, Tenant
from agent.runtime.snapshot import Counters, Health
from agent.runtime.spec import Limits, ModelSpec
from agent.runtime.wire.memory import Memory


class Rival(Tenant, Protocol):
    """The version that serves, to another that is to take its place."""

    @property
    def place(self) -> Place: ...

    async def stand_aside(self) -> None:
        """Be unloaded, for a successor to be loaded in its place; requests wait, until it comes back or is replaced."""


class Place:
    """`key` is its own; the name is shared by all versions. `kept`: somebody needs it at hand, though no request waits.
    `aside`: a successor is loaded in its place."""

    def __init__(
        self,
        spec: ModelSpec,
        *,
        key: str,
        limits: Limits,
        counters: Counters,
        candidate: bool,
        rival: Rival | None,
    ) -> None:
        self.spec = spec
        self.key = key
        self.limits = limits
        self.counters = counters
        self.health = Health()
        self.candidate = candidate
        self.kept = False
        self.aside = False
        self.retired = False
        self._rival = rival

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def lane(self) -> str:
        """Under which name its requests wait in the queue."""
        return self.key if self.candidate or self.retired else self.name

    @property
    def pinned(self) -> bool:
        return self.spec.pinned and not (self.candidate or self.retired)

    @property
    def keep_alive_s(self) -> float | None:
        return None if self.candidate or (self.kept and not self.retired) else self.spec.keep_alive_s

    @property
    def spared(self) -> frozenset[str]:
        """Keys of those that shall not be unloaded for its sake."""
        return frozenset() if self._rival is None else frozenset({self._rival.key})

    def take(self, *, limits: Limits, counters: Counters) -> None:
        """It serves under its name from now on."""
        self.candidate, self._rival = False, None
        self.limits, self.counters, self.health = limits, counters, Health()

    async def make_room(self, tenant: Tenant, memory: Memory, budget: MemoryBudget) -> None:
        """Reserve `memory` beside the rival, or instead of it if that is what it takes. Raises `MemoryBudgetError`."""
        try:
            await budget.acquire(tenant, memory)
        except MemoryBudgetError:
            rival = self._rival
            if rival is None or rival.place.aside or not budget.fits_without(rival, tenant, memory):
                raise
            tenant.note(f"waiting for version {rival.place.spec.version} to be unloaded: both do not fit")
            await rival.stand_aside()
            await budget.acquire(tenant, memory)
