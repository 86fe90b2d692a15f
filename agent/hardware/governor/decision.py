"""What the governor looks at, and what it decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mode = Literal["performance", "balanced", "efficient", "quiet"]
Cause = Literal["none", "mode", "heat", "throttling", "power", "battery", "supply", "memory"]


@dataclass(frozen=True, kw_only=True)
class Readings:
    """At `now_s` (monotonic). What could not be read is None. `watts` and `tokens_per_s` are means over the last
    seconds of work; `throttled` names what holds the clocks down at this moment."""

    now_s: float
    busy: bool
    celsius: float | None = None
    throttled: tuple[str, ...] = ()
    on_mains: bool | None = None
    battery_percent: float | None = None
    watts: float | None = None
    tokens_per_s: float | None = None
    memory_stall_percent: float | None = None
    """Of the last minute, in which all work waited for memory (PSI `full`)."""

    @property
    def joules_per_token(self) -> float | None:
        return self.watts / self.tokens_per_s if self.watts is not None and self.tokens_per_s else None


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """From the board's profile, and what its owner asks for: at most so many watts, at most so many joules a token."""

    soft_celsius: float
    hard_celsius: float
    hysteresis_celsius: float
    batch_tokens: int
    most_watts: float | None = None
    most_joules_per_token: float | None = None


@dataclass(frozen=True, kw_only=True)
class Decision:
    """`pause_ratio`: seconds to rest after each second of computing. `batch_tokens`: prompt tokens in one step.
    `partials_ratio`: how many times as long to wait between partial transcripts; None: leave them out.
    `admit`: whether new work may start. `rung`: how far down the ladder, for the metrics."""

    threads: int
    threads_batch: int
    max_mhz: int | None
    pause_ratio: float
    batch_tokens: int
    partials_ratio: float | None
    admit: bool
    rung: int
    cause: Cause
    reason: str

    def pause_s(self, step_s: float) -> float:
        """How long to rest after a step that took `step_s`."""
        return step_s * self.pause_ratio

    def differs(self, other: Decision | None) -> bool:
        """Whether something would have to be done, the words aside."""
        return other is None or any(
            getattr(self, name) != getattr(other, name)
            for name in (
                "threads",
                "threads_batch",
                "max_mhz",
                "pause_ratio",
                "batch_tokens",
                "partials_ratio",
                "admit",
            )
        )
