"""What the daemon orders beside requests, and the answer to a ping."""

from __future__ import annotations

import msgspec


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    id: int


class SetThreads(msgspec.Struct, frozen=True, tag="threads"):
    """Takes effect at the next decode step."""

    threads: int
    threads_batch: int


class SetPace(msgspec.Struct, frozen=True, tag="pace"):
    """From the next step on: rest `pause_ratio` times as long as a step took, with at most `batch_tokens` in one."""

    pause_ratio: float
    batch_tokens: int


class Ping(msgspec.Struct, frozen=True, tag="ping"):
    seq: int


class Pong(msgspec.Struct, frozen=True, kw_only=True, tag="pong"):
    """`step_age_s` is how long the engine has been inside its current step; 0 when idle. Hangs show there."""

    seq: int
    step_age_s: float
    resident_bytes: int
    prefix_cache_bytes: int
    kv_used_tokens: int
    active_sequences: int
    waiting_sequences: int
    batch_tokens: int
    threads: int
    gpu_bytes: int = 0


class Shutdown(msgspec.Struct, frozen=True, tag="shutdown"):
    pass
