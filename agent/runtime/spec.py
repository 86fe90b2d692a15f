"""What the runtime is told: which models there are, and the limits it keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from agent.runtime.wire.options import Options

Task = Literal["generate", "embed", "transcribe"]
DOES: Final[dict[Task, str]] = {
    "generate": "generates text",
    "embed": "makes embeddings",
    "transcribe": "transcribes speech",
}
"""For sentences: "NAME generates text"."""


class ModelSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One model that may be loaded.

    `path` is what the worker opens. `keep_alive_s` counts from the last request: None keeps the model until its memory
    is needed, 0 unloads it at once. A `pinned` model is neither evicted nor unloaded for being idle. `preload` loads
    it when the runtime starts. `created` is Unix time in seconds. `shortens`: its vectors stay meaningful when they are
    cut (Matryoshka). `prompts` are the names of those that the model brings, to be put before a text ("query").
    `sampling` is what a request for text that does not say gets, by field of `wire.generation.Sampling`.
    """

    name: str
    version: str
    task: Task
    path: str
    options: Options
    aliases: tuple[str, ...] = ()
    pinned: bool = False
    keep_alive_s: float | None = 300.0
    preload: bool = False
    created: int = 0
    shortens: bool = False
    prompts: tuple[str, ...] = ()
    sampling: Mapping[str, float | int] = msgspec.field(default_factory=dict)

    def same_worker(self, other: ModelSpec) -> bool:
        """Whether a worker that runs `self` also serves `other`: only what it was loaded with counts."""
        return (self.name, self.version, self.task, self.path, self.options) == (
            other.name,
            other.version,
            other.task,
            other.path,
            other.options,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Every number the runtime keeps to. The defaults are ours; where one has a reason, it stands beside it.

    `queue_capacity` counts waiting requests of all models together; running ones do not count.
    `memory_cap_bytes` bounds the sum of all models whatever the system says is free; None leaves it to the reading.
    """

    queue_capacity: int = 32
    default_deadline_s: float | None = 300.0  # nobody waits in the queue for ever
    aging_s: float = 10.0  # a LOW request overtakes HIGH ones that came 20 s later

    memory_cap_bytes: int | None = None
    memory_wait_s: float = 60.0  # for busy models to finish, when only they are in the way
    yield_after_s: float = 2.0  # then those busy models start no further request until they were evicted

    start_timeout_s: float = 60.0  # process start to prediction: imports take 10 s from a Pi's SD card
    load_timeout_s: float = 600.0  # 8 GB at 20 MB/s is 400 s
    load_retry_s: float = 5.0  # how often a request may try a model again that could not be loaded

    quiet_wait_s: float = 20.0  # a model that must go for its successor waits for a moment when nobody uses it

    heartbeat_s: float = 1.0
    heartbeat_timeout_s: float = 5.0
    hang_timeout_s: float = 120.0  # one decode step or micro-batch; the slowest board needs seconds

    backoff_first_s: tuple[float, ...] = (0.1, 0.5, 1.0)  # doubles from the last one on
    backoff_cap_s: float = 30.0
    crash_limit: int = 5

    shutdown_grace_s: float = 2.0  # after the Shutdown message
    terminate_grace_s: float = 1.0  # after SIGTERM

    pending_events: int = 10_000  # per stream, for a client that does not read
    pending_bytes: int = 4 * 1024 * 1024
