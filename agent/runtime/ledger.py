"""The memory ledger: what each model was promised or was measured to take, and who must go to make room. No I/O.

A model is *reserved* with its prediction before it loads and *charged* with what was measured after. The budget is the
caller's: what the system could still give, plus what our workers already hold of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from agent.runtime.wire.memory import Memory

UNUSED_KEEP_ALIVE_S = 60.0
"""How long a model that was loaded on request, but not used yet, stays at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One worker's memory. `key` is unique per worker, `name` is what people call the model. `busy` models have
    requests or are still loading; times are of the caller's clock, in seconds."""

    key: str
    name: str
    memory: Memory
    charged_bytes: int
    measured: bool
    pinned: bool
    busy: bool
    used: bool
    last_used: float
    keep_alive_s: float | None


@dataclass(frozen=True, slots=True)
class Fits:
    pass


@dataclass(frozen=True, slots=True)
class Evict:
    """Unload these idle models (account keys, least recently used first), then plan again."""

    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """Room could be made once the busy models `keys` have finished."""

    keys: tuple[str, ...]
    arithmetic: str


@dataclass(frozen=True, slots=True)
class Never:
    """It does not fit beside the pinned models even if everything else goes."""

    arithmetic: str


Plan = Fits | Evict | Wait | Never


class Ledger:
    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}

    def __iter__(self) -> Iterator[Account]:
        return iter(self._accounts.values())

    def __contains__(self, key: str) -> bool:
        return key in self._accounts

    @property
    def charged_bytes(self) -> int:
        return sum(account.charged_bytes for account in self._accounts.values())

    def plan(
        self,
        key: str,
        name: str,
        memory: Memory,
        *,
        budget_bytes: int,
        spared: frozenset[str] = frozenset(),
        without: frozenset[str] = frozenset(),
    ) -> Plan:
        """What it takes to fit `memory` into the budget beside all other accounts; those in `spared` stay, as pinned
        ones do, and those in `without` count as gone."""
        needed = memory.total_bytes
        others = [account for account in self._accounts.values() if account.key != key and account.key not in without]
        excess = needed + sum(account.charged_bytes for account in others) - budget_bytes
        if excess <= 0:
            return Fits()
        movable = [account for account in others if not account.pinned and account.key not in spared]
        movable.sort(key=lambda a: (a.busy, a.last_used))
        idle = [account for account in movable if not account.busy]
        for candidates in (idle, movable):
            victims = _fewest(candidates, excess)
            if victims is None:
                continue
            if candidates is idle:
                return Evict(tuple(account.key for account in victims))
            keys = tuple(account.key for account in victims if account.busy)
            return Wait(keys, arithmetic(name, memory, budget_bytes, others))
        return Never(arithmetic(name, memory, budget_bytes, others))

    def reserve(
        self,
        key: str,
        name: str,
        memory: Memory,
        *,
        now: float,
        pinned: bool = False,
        keep_alive_s: float | None = None,
    ) -> None:
        """Promise a prediction's bytes to a model that starts loading now (and is busy until charged)."""
        self._accounts[key] = Account(
            key=key,
            name=name,
            memory=memory,
            charged_bytes=memory.total_bytes,
            measured=False,
            pinned=pinned,
            busy=True,
            used=False,
            last_used=now,
            keep_alive_s=keep_alive_s,
        )

    def charge(self, key: str, memory: Memory, *, now: float) -> None:
        """The model is loaded: charge what it will take at its fullest, or more if it already does."""
        self._change(
            key,
            memory=memory,
            measured=True,
            busy=False,
            last_used=now,
            charged_bytes=max(memory.total_bytes, memory.resident_bytes),
        )

    def grew(self, key: str, resident_bytes: int) -> None:
        """The worker was seen to hold `resident_bytes`; never lowers the charge."""
        account = self._accounts.get(key)
        if account is not None and resident_bytes > account.charged_bytes:
            self._change(key, charged_bytes=resident_bytes)

    def use(self, key: str, *, busy: bool, now: float) -> None:
        """A request was started or has ended."""
        self._change(key, busy=busy, used=True, last_used=now)

    def terms(self, key: str, *, pinned: bool, keep_alive_s: float | None) -> None:
        """The configuration changed, or a model that is being replaced loses its pin."""
        self._change(key, pinned=pinned, keep_alive_s=keep_alive_s)

    def release(self, key: str) -> None:
        self._accounts.pop(key, None)

    def outlived(self, key: str, now: float) -> bool:
        """Whether the model's keep-alive is over."""
        account = self._accounts.get(key)
        if account is None or account.busy or account.pinned or account.keep_alive_s is None:
            return False
        keep_s = account.keep_alive_s if account.used else max(account.keep_alive_s, UNUSED_KEEP_ALIVE_S)
        return now - account.last_used >= keep_s

    def _change(self, key: str, **changes: object) -> None:
        account = self._accounts.get(key)
        if account is not None:
            self._accounts[key] = replace(account, **changes)  # type: ignore[arg-type]


def _fewest(candidates: Sequence[Account], excess: int) -> list[Account] | None:
    """The fewest accounts that hold `excess` bytes together; of several such sets the one earliest in the order given.

    Few, because each costs somebody a reload; None if all together do not suffice.
    """
    sizes = sorted((account.charged_bytes for account in candidates), reverse=True)
    count = next((n for n in range(1, len(sizes) + 1) if sum(sizes[:n]) >= excess), None)
    if count is None:
        return None
    chosen: list[Account] = []
    for index, account in enumerate(candidates):
        rest = sorted((later.charged_bytes for later in candidates[index + 1 :]), reverse=True)
        if account.charged_bytes + sum(rest[: count - 1]) >= excess:
            chosen.append(account)
            excess -= account.charged_bytes
            count -= 1
            if count == 0:
                break
    return chosen


def arithmetic(name: str, memory: Memory, budget_bytes: int, others: Sequence[Account]) -> str:
    """The sum as a sentence: what is needed and why, what there is, and who holds it."""
    parts = [
        ("weights", memory.weights_bytes),
        ("KV cache", memory.kv_bytes),
        ("compute buffers", memory.compute_bytes),
        ("overhead", memory.overhead_bytes),
    ]
    if memory.prefix_cache_bytes:
        parts.append(("prefix cache", memory.prefix_cache_bytes))
    terms = " + ".join(f"{what} {format_bytes(size)}" for what, size in parts)
    held = sum(account.charged_bytes for account in others)
    text = (
        f"{name} needs {terms} = {format_bytes(memory.total_bytes)}; "
        f"the budget for all models is {format_bytes(max(0, budget_bytes))}"
    )
    if not others:
        return text + ", and no other model holds any of it."
    holders = ", ".join(f"{each.name} {format_bytes(each.charged_bytes)} ({_tenure(each)})" for each in others)
    return f"{text}, of which {format_bytes(held)} is held by {holders}."


def _tenure(account: Account) -> str:
    if account.pinned:
        return "pinned"
    return "busy" if account.busy else "idle"


def format_bytes(size_bytes: int) -> str:
    """`1.5 GiB`, `512 MiB`, `300 KiB`, `12 B`: three figures at most, binary units as the tools of the trade show."""
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 10 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.2f} GiB" if size < 10 else f"{size:.1f} GiB"
