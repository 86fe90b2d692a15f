"""Whether a worker is alive: from its answers and a clock. No I/O."""

from __future__ import annotations

from agent.runtime.spec import Limits
from agent.runtime.wire.control import Pong


class Heartbeat:
    """Fed with every `Pong`, asked once per beat. Times are of the caller's clock, in seconds."""

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._heard_at = now
        self._step_age_s = 0.0

    def heard(self, pong: Pong, now: float) -> None:
        self._heard_at = now
        self._step_age_s = pong.step_age_s

    def silent_s(self, now: float) -> float:
        """How long ago its last answer came."""
        return now - self._heard_at

    def verdict(self, now: float, *, slept_s: float, oldest_drop: float | None) -> str | None:
        """Why the worker must be killed, or None. `slept_s` is how long the caller slept since it sent a `Ping`, and
        `oldest_drop` when the first cancellation that is not confirmed yet was sent."""
        limits = self._limits
        if slept_s > limits.heartbeat_s + limits.heartbeat_timeout_s / 2:
            self._heard_at = now  # it was this process that was held up: the answers lie unread
            return None
        if now - self._heard_at > limits.heartbeat_timeout_s:
            return f"did not answer for {limits.heartbeat_timeout_s:g} s"
        if self._step_age_s > limits.hang_timeout_s:
            return f"hung in one step for {self._step_age_s:.1f} s"
        if oldest_drop is not None and now - oldest_drop > limits.hang_timeout_s:
            return f"did not cancel a request within {limits.hang_timeout_s:g} s"
        return None
