"""Whether a version that has begun to serve has proved itself. Decisions only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from agent.updates.parts import Health, Limits
from agent.updates.trial.comparison import Comparison, compare

TOLERANCE: Final = 0.8
"""Load is never the same twice: a speed under load is too low only below so much of what is expected."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """`reason` is one sentence."""

    healthy: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class Load:
    """What the version before made of the requests that it served during the trial, where nobody ever paused; what the
    new one must make of those that it serves, at least, is `least_ratio` of that."""

    rate_per_s: float
    unit: str
    least_ratio: float


def load_of(figures: Mapping[str, Any]) -> Load | None:
    """From the figures of a verdict; None where the speeds were compared in the trial, or cannot be."""
    try:
        return Load(
            rate_per_s=float(figures["load_rate_per_s"]),
            unit=str(figures["rate_unit"]),
            least_ratio=float(figures["load_least_ratio"]),
        )
    except (KeyError, TypeError, ValueError):
        return None


def outcome(health: Health, served_s: float, limits: Limits, load: Load | None = None) -> Outcome | None:
    """What `health` after `served_s` seconds of service means; None: it is too early to say.

    Bad news counts first: a version that crashes with its last good request goes back. At the end of its time one that
    has answered nothing yet is judged when nothing is under way, or something has ended.
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
    rate = health.rate_per_s
    if load is not None and rate is not None and _compared(health, load) is Comparison.TOO_SLOW:
        return Outcome(
            healthy=False,
            reason=f"Under load it makes {rate:.3g} {load.unit} a second, {rate / load.rate_per_s:.2f} times as many as"
            f" the version before did; at least {TOLERANCE * load.least_ratio:.2g} times is expected.",
        )
    good = _counted(health.requests_ok, "request", "requests")
    if health.requests_ok >= max(1, limits.probation_requests):
        return Outcome(healthy=True, reason=f"{good} went well.{_speed(health, load)}")
    if served_s >= limits.probation_s and (asked or not health.under_way):  # the first answer is worth waiting for
        went = f"with {good} that went well" if asked else "and no request has ended meanwhile"
        return Outcome(healthy=True, reason=f"It has served for {served_s:.0f} s, {went}.{_speed(health, load)}")
    return None


def _compared(health: Health, load: Load) -> Comparison | None:
    """None: too few requests to go by."""
    if health.rate_per_s is None:
        return None
    return compare(
        health.rate_per_s,
        health.most_rate_per_s,
        before_per_s=load.rate_per_s,
        least_ratio=TOLERANCE * load.least_ratio,
    )


def _speed(health: Health, load: Load | None) -> str:
    if load is None:
        return ""
    match _compared(health, load):
        case None:
            return " Its speed was not compared: it was asked too little."
        case Comparison.HELD_UP:
            return " Its speed was not compared: others took the processors."
        case _:
            rate, before = health.rate_per_s, load.rate_per_s
            return f" Under load it makes {rate:.3g} {load.unit} a second, the version before made {before:.3g}."


def _counted(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"
