"""The runtime as a source: what it has done, how fast, and what waits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from agent.fleet.telemetry.sample import Values
from agent.fleet.telemetry.source import Look
from agent.runtime.snapshot import Counters, RuntimeSnapshot


class Snapshots(Protocol):
    """The part of `Runtime` that is needed."""

    def snapshot(self) -> RuntimeSnapshot: ...


@dataclass
class EngineSource:
    """Counts are since the daemon started; rates are of the time since the reading before."""

    runtime: Snapshots
    type: str = field(default="engine", init=False)
    _before: Counters = field(default_factory=Counters, init=False)

    async def read(self) -> Values:
        snapshot = self.runtime.snapshot()
        before, now = self._before, snapshot.counters
        self._before = now
        return {
            "requests": now.accepted,
            "completed": now.completed,
            "failed": now.failed,
            "cancelled": now.cancelled,
            "expired": now.expired,
            "rejected": now.rejected,
            "prompt_tokens": now.prompt_tokens,
            "cached_tokens": now.cached_tokens,
            "completion_tokens": now.completion_tokens,
            "running": snapshot.running,
            "waiting": snapshot.queue.waiting,
            "crashes": now.crashes,
            "evictions": now.evictions,
            "memory_available_bytes": snapshot.ledger.available_bytes,
            "memory_held_bytes": snapshot.ledger.held_bytes,
            **rates(before, now),
        }

    async def look(self) -> Look:
        return Look()


def rates(before: Counters, now: Counters) -> dict[str, float | None]:
    """`tokens_per_second` of one sequence while it decoded; `first_token_s` is the mean time in the queue and in the
    prompt. Both are of requests that ended between the two, and None without any."""
    decode_s, completed = now.decode_s - before.decode_s, now.completed - before.completed
    tokens = now.completion_tokens - before.completion_tokens
    first_s = now.queued_s + now.prefill_s - before.queued_s - before.prefill_s
    return {
        "tokens_per_second": round(tokens / decode_s, 2) if decode_s > 0 and tokens > 0 else None,
        "first_token_s": round(first_s / completed, 3) if completed > 0 else None,
    }
