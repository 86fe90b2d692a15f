"""Making room in memory: the ledger's plans carried out, one load at a time."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from agent.errors import MemoryBudgetError
from agent.runtime.ledger import Evict, Fits, Ledger, Never, Plan
from agent.runtime.snapshot import AccountSnapshot, Counters, LedgerSnapshot
from agent.runtime.spec import Limits
from agent.runtime.wire.memory import Memory

FREE_LAG_S = 0.5
"""GPU drivers give a dead process's memory back a little after its exit."""

HINT = "Use a smaller quantization, fewer context tokens or slots, or unload another model."

_ANONYMOUS = re.compile(rb"^(?:RssAnon|RssShmem):\s+(\d+) kB$", re.MULTILINE)


class Tenant(Protocol):
    """A model with an account in the ledger."""

    @property
    def key(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def pinned(self) -> bool: ...
    @property
    def keep_alive_s(self) -> float | None: ...
    @property
    def lane(self) -> str:
        """Under which name its requests wait in the queue."""

    @property
    def spared(self) -> frozenset[str]:
        """Keys of tenants that shall not be unloaded for its sake."""

    def held_bytes(self) -> int:
        """What its process takes now of the memory that the budget's reading no longer counts as available."""

    def note(self, reason: str) -> None:
        """Why it is not ready yet, for people."""

    def request_unload(self, reason: str) -> None:
        """Finish what runs, start nothing more, and exit. Takes effect before the call returns."""

    async def unloaded(self) -> None:
        """Wait until its process is gone."""

    def hold(self) -> None:
        """Start no further request until `resume` (counted)."""

    def resume(self) -> None: ...


class MemoryBudget:
    """One ledger for all models. `memory` takes the bytes that our workers hold, which the system's reading does not
    count as available, and returns how many all models together may take now."""

    def __init__(
        self, *, limits: Limits, memory: Callable[[int], int], clock: Callable[[], float], counters: Counters
    ) -> None:
        self._ledger = Ledger()
        self._limits = limits
        self._memory = memory
        self._clock = clock
        self._counters = counters
        self._tenants: dict[str, Tenant] = {}
        self._planning = asyncio.Lock()
        self._changed = asyncio.Event()

    def check(self, tenant: Tenant, memory: Memory) -> None:
        """Raises `MemoryBudgetError` if it is plain already that `memory` will not fit."""
        plan = self._plan(tenant, memory)
        if isinstance(plan, Never):
            raise MemoryBudgetError(plan.arithmetic, hint=HINT)

    def fits_without(self, gone: Tenant, tenant: Tenant, memory: Memory) -> bool:
        """Whether there were room for `tenant` now, or could be made, if `gone` were unloaded."""
        return isinstance(self._plan(tenant, memory, without=frozenset({gone.key})), Fits | Evict)

    async def acquire(self, tenant: Tenant, memory: Memory) -> None:
        """Reserve `memory`, evicting idle models for it, waiting for busy ones.

        Raises `MemoryBudgetError` with the arithmetic if it cannot fit, or if the busy ones take too long.
        """
        started = self._clock()
        held: list[Tenant] = []
        evicted = lagged = False
        try:
            while True:
                async with self._planning:
                    changed = self._changed
                    plan = self._plan(tenant, memory)
                    if isinstance(plan, Fits):
                        self._reserve(tenant, memory)
                        return
                    if isinstance(plan, Evict):
                        await self._evict(plan.keys, tenant.name)
                        evicted = True
                        continue
                    if isinstance(plan, Never):
                        if evicted and not lagged:
                            lagged = True
                            await asyncio.sleep(FREE_LAG_S)
                            continue
                        raise MemoryBudgetError(plan.arithmetic, hint=HINT)
                waited_s = self._clock() - started
                if waited_s >= self._limits.memory_wait_s:
                    raise MemoryBudgetError(
                        f"{plan.arithmetic} The busy models did not finish within {self._limits.memory_wait_s:.0f} s.",
                        hint="Try again later.",
                    )
                tenant.note(f"waiting for busy models to finish: {plan.arithmetic}")
                if waited_s >= self._limits.yield_after_s:
                    for key in plan.keys:
                        blocker = self._tenants.get(key)
                        if blocker is not None and blocker not in held:
                            held.append(blocker)
                            blocker.hold()
                    next_look_s = self._limits.memory_wait_s - waited_s
                else:
                    next_look_s = self._limits.yield_after_s - waited_s
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), min(next_look_s, self._limits.heartbeat_s))
        finally:
            for blocker in held:
                blocker.resume()

    def charge(self, tenant: Tenant, memory: Memory) -> None:
        """The model is loaded and was measured."""
        self._ledger.charge(tenant.key, memory, now=self._clock())
        self._poke()

    def grew(self, tenant: Tenant, resident_bytes: int) -> None:
        self._ledger.grew(tenant.key, resident_bytes)

    def use(self, tenant: Tenant, *, busy: bool) -> None:
        """A request was started or has ended."""
        self._ledger.use(tenant.key, busy=busy, now=self._clock())
        if not busy:
            self._poke()

    def terms(self, tenant: Tenant) -> None:
        """The tenant's pin or keep-alive has changed."""
        self._ledger.terms(tenant.key, pinned=tenant.pinned, keep_alive_s=tenant.keep_alive_s)
        self._poke()

    def outlived(self, tenant: Tenant) -> bool:
        """Whether the tenant has been idle for longer than its keep-alive."""
        return self._ledger.outlived(tenant.key, self._clock())

    def enter(self, tenant: Tenant) -> None:
        """The tenant has a process from now on."""
        self._tenants[tenant.key] = tenant

    def leave(self, tenant: Tenant) -> None:
        """The tenant's process is gone, and its memory with it."""
        self._tenants.pop(tenant.key, None)
        self._ledger.release(tenant.key)
        self._poke()

    def charged_bytes(self, tenant: Tenant) -> int:
        return sum(account.charged_bytes for account in self._ledger if account.key == tenant.key)

    def snapshot(self) -> LedgerSnapshot:
        held_bytes = self._held_bytes()
        budget_bytes = self._budget_bytes(held_bytes)
        return LedgerSnapshot(
            budget_bytes=budget_bytes,
            available_bytes=max(0, budget_bytes - held_bytes),
            held_bytes=held_bytes,
            charged_bytes=self._ledger.charged_bytes,
            accounts=tuple(
                AccountSnapshot(
                    name=account.name,
                    charged_bytes=account.charged_bytes,
                    measured=account.measured,
                    pinned=account.pinned,
                    busy=account.busy,
                )
                for account in self._ledger
            ),
        )

    def _plan(self, tenant: Tenant, memory: Memory, *, without: frozenset[str] = frozenset()) -> Plan:
        return self._ledger.plan(
            tenant.key,
            tenant.name,
            memory,
            budget_bytes=self._budget_bytes(self._held_bytes()),
            spared=tenant.spared,
            without=without,
        )

    def _held_bytes(self) -> int:
        return sum(tenant.held_bytes() for tenant in self._tenants.values())

    def _budget_bytes(self, held_bytes: int) -> int:
        budget_bytes, cap_bytes = self._memory(held_bytes), self._limits.memory_cap_bytes
        return budget_bytes if cap_bytes is None else min(budget_bytes, cap_bytes)

    def _reserve(self, tenant: Tenant, memory: Memory) -> None:
        self._ledger.reserve(
            tenant.key,
            tenant.name,
            memory,
            now=self._clock(),
            pinned=tenant.pinned,
            keep_alive_s=tenant.keep_alive_s,
        )

    async def _evict(self, keys: tuple[str, ...], for_name: str) -> None:
        victims = [self._tenants[key] for key in keys if key in self._tenants]
        for key in keys:
            if key not in self._tenants:
                self._ledger.release(key)
        for victim in victims:  # all of them before the first wait: none may start a request now
            victim.request_unload(f"evicted to make room for {for_name}")
        self._counters.evictions += len(victims)
        for victim in victims:
            await victim.unloaded()

    def _poke(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def anonymous_bytes(pid: int, *, proc: Path = Path("/proc")) -> int | None:
    """What a process holds that the system cannot drop: not its mapped files. None where `/proc` does not tell.

    Mapped weights live in the page cache, which MemAvailable still counts as available, so they must not be added.
    """
    try:
        found = _ANONYMOUS.findall((proc / str(pid) / "status").read_bytes())
    except OSError:
        return None
    return sum(int(kib) for kib in found) * 1024 if found else None
