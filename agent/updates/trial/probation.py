"""Whether a version that has begun to serve has proved itself. Decisions only."""

from __future__ import annotations

from dataclasses import dataclass

from agent.updates.parts import Health, Limits


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """`reason` is one sentence."""

    healthy: bool
    reason: str


def outcome(health: Health, served_s: float, limits: Limits) -> Outcome | None:
    """What `health` after `served_s` seconds of service means; None: it is too early to say.

    Bad news counts first: a version that crashes with its last good request goes back.
    """
    if health.crashes >= max(1, limits.probation_crashes):
        return Outcome(
            healthy=False, reason=f"It crashed on probation ({_counted(health.crashes, 'crash', 'crashes')})."
        )
    asked = health.requests_ok + health.requests_failed
    if asked >= max(1, limits.probation_error_requests):
        ratio = health.requests_failed / asked
        if ratio > limits.probation_error_ratio:
            return Outcome(
                healthy=False,
                reason=f"{health.requests_failed} of {asked} requests failed on probation "
                f"({ratio:.0%}; {limits.probation_error_ratio:.0%} are allowed).",
            )
    if health.requests_ok >= max(1, limits.probation_requests):
        return Outcome(healthy=True, reason=f"{_counted(health.requests_ok, 'request', 'requests')} went well.")
    if served_s >= limits.probation_s:
        went = f"with {_counted(health.requests_ok, 'request', 'requests')} that went well"
        return Outcome(healthy=True, reason=f"It has served for {served_s:.0f} s, {went if asked else 'unasked'}.")
    return None


def _counted(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"
