"""What the runtime looks like at one moment, for /status, /metrics and /health. Plain values, ready for JSON."""

from __future__ import annotations

import msgspec

from agent.runtime.spec import Task
from agent.runtime.wire.control import Pong
from agent.runtime.wire.loading import Loaded
from agent.runtime.wire.memory import Memory


class Counters(msgspec.Struct, kw_only=True):
    """Counted since the start. Every request that was accepted ends as completed, failed, cancelled or expired;
    rejected ones (`QueueFullError`) were never accepted. `sampled_tokens` are
    counted as they come. Times are sums over requests, in seconds."""

    accepted: int = 0
    rejected: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    sampled_tokens: int = 0
    queued_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    loads: int = 0
    load_failures: int = 0
    evictions: int = 0
    crashes: int = 0

    def copy(self) -> Counters:
        return msgspec.structs.replace(self)


class Health(msgspec.Struct, kw_only=True):
    """How one version of a model has done since it began to serve. A request that fails for its own fault counts
    nowhere; `crashes` are workers that were lost, and loads that were refused. Requests that went well made `units`
    (tokens, or seconds of sound for speech) in `work_s` seconds, summed over requests, of which several run at once."""

    requests_ok: int = 0
    requests_failed: int = 0
    crashes: int = 0
    units: float = 0.0
    work_s: float = 0.0

    def copy(self) -> Health:
        return msgspec.structs.replace(self)


class QueueSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    waiting: int
    capacity: int
    high: int
    normal: int
    low: int


class ModelSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One model. `state` is one of `agent.runtime.lifecycle.State`; `reason` says why it is in it, where there is a
    reason. `created` is Unix time; other times are seconds ago, None for never. `loaded` and `stats` are the worker's
    own words, None without one. `successor` is the version that is being loaded or tried to take its place.
    """

    name: str
    version: str
    task: Task
    created: int
    aliases: tuple[str, ...]
    pinned: bool
    keep_alive_s: float | None
    state: str
    reason: str
    slots: int
    running: int
    slots_used: int
    waiting: int
    crashes_in_a_row: int
    crashes: int
    pid: int | None
    predicted: Memory | None
    charged_bytes: int
    loaded: Loaded | None
    stats: Pong | None
    loaded_for_s: float | None
    idle_for_s: float | None
    retry_in_s: float | None
    health: Health = msgspec.field(default_factory=Health)
    successor: str | None = None
    shortens: bool = False
    prompts: tuple[str, ...] = ()


class AccountSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One worker's line in the ledger; a model that is being replaced has two workers for a while."""

    name: str
    charged_bytes: int
    measured: bool
    pinned: bool
    busy: bool


class LedgerSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """`budget_bytes` is what all models may take together, `held_bytes` what their processes take of it now (mapped
    files apart), `available_bytes` the difference; `charged_bytes` is what they have been promised."""

    budget_bytes: int
    available_bytes: int
    held_bytes: int
    charged_bytes: int
    accounts: tuple[AccountSnapshot, ...]


class RuntimeSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    stopping: bool
    running: int
    queue: QueueSnapshot
    ledger: LedgerSnapshot
    counters: Counters
    models: tuple[ModelSnapshot, ...]
