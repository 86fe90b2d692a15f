"""From what was measured of a candidate to a verdict. Decisions only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from agent.updates.parts import Limits, Verdict
from agent.updates.trial.comparison import Comparison, compare
from agent.updates.trial.golden import Gates
from agent.updates.trial.scores import perplexity

_MIB: Final = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Of one version. `rate_per_s` counts tokens, texts or seconds of sound (`unit`); None: there was no quiet moment
    to measure in. `most_rate_per_s` is what that might be without other programs, where this is known (`speed.Rate`).
    `load_rate_per_s` is what it made of each request that it served during the trial, in `load_unit`;
    None: those were too few."""

    memory_bytes: int
    rate_per_s: float | None = None
    most_rate_per_s: float | None = None
    unit: str = ""
    load_s: float | None = None
    load_rate_per_s: float | None = None
    load_unit: str = ""


@dataclass(kw_only=True)
class Answers:
    """What the golden set came to so far. `logprobs` are of all tokens of all texts; `word_errors` of `words`."""

    exact: list[bool] = field(default_factory=list)
    json: list[bool] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    cosines: list[float] = field(default_factory=list)
    word_errors: int = 0
    words: int = 0
    asked: int = 0
    first_wrong: str = ""
    """What a wrong exact or JSON answer was, for people."""


def judge(
    candidate: Measured,
    answers: Answers,
    *,
    running: Measured | None,
    gates: Gates,
    limits: Limits,
    notes: Sequence[str] = (),
) -> Verdict:
    """`notes` say what was not looked at, and why. The reasons of a verdict that failed begin with the failures."""
    failures: list[str] = []
    figures: dict[str, Any] = {"memory_bytes": candidate.memory_bytes}
    if candidate.load_s is not None:
        figures["load_s"] = round(candidate.load_s, 3)
    _compare_memory(candidate, running, gates, limits, figures, failures)
    unseen = _compare_speed(candidate, running, gates, limits, figures, failures)
    _look_at_answers(answers, gates, figures, failures)
    return Verdict(passed=not failures, reasons=(*failures, *notes, *unseen), figures=figures)


def speed_limit(gates: Gates, limits: Limits) -> float:
    """The candidate's rate over that of the running version, at least: the stricter of the two."""
    return max(limits.speed_ratio, gates.least_speed_ratio or 0.0)


def _compare_memory(
    candidate: Measured,
    running: Measured | None,
    gates: Gates,
    limits: Limits,
    figures: dict[str, Any],
    failures: list[str],
) -> None:
    if running is None or running.memory_bytes <= 0:
        return
    ratio = candidate.memory_bytes / running.memory_bytes
    most = min(limits.memory_ratio, gates.most_memory_ratio or math.inf)
    figures |= {"running_memory_bytes": running.memory_bytes, "memory_ratio": round(ratio, 3)}
    if ratio > most:
        failures.append(
            f"It takes {candidate.memory_bytes / _MIB:.0f} MiB of memory, {ratio:.2f} times as much as the version "
            f"that runs; {most:g} times is allowed."
        )


def _compare_speed(
    candidate: Measured,
    running: Measured | None,
    gates: Gates,
    limits: Limits,
    figures: dict[str, Any],
    failures: list[str],
) -> tuple[str, ...]:
    rate = candidate.rate_per_s
    if rate is not None:
        figures |= {"rate_per_s": _short(rate), "rate_unit": candidate.unit}
    if running is None:
        return ()
    if rate is None or not running.rate_per_s:
        return (_compare_later(running, gates, limits, figures, "there was no quiet moment to measure in"),)
    ratio, least = rate / running.rate_per_s, speed_limit(gates, limits)
    found = compare(rate, candidate.most_rate_per_s, before_per_s=running.rate_per_s, least_ratio=least)
    if found is Comparison.HELD_UP:
        return (_compare_later(running, gates, limits, figures, "others took the processors meanwhile"),)
    figures |= {"running_rate_per_s": _short(running.rate_per_s), "speed_ratio": round(ratio, 3)}
    if found is Comparison.TOO_SLOW:
        failures.append(
            f"It makes {_short(rate):g} {candidate.unit} a second, {ratio:.2f} times as many as the version that runs; "
            f"at least {least:g} times is expected."
        )
    return ()


def _compare_later(running: Measured, gates: Gates, limits: Limits, figures: dict[str, Any], why: str) -> str:
    found = running.load_rate_per_s
    if found is None:
        return f"Its speed was not compared: {why}, and too few requests to go by."
    figures |= {
        "load_rate_per_s": _short(found),
        "rate_unit": running.load_unit,
        "load_least_ratio": speed_limit(gates, limits),
    }
    return (
        f"Its speed was not compared: {why}. On probation it is compared with the"
        f" {_short(found):g} {running.load_unit} a second that the version that runs makes under load."
    )


def _look_at_answers(
    answers: Answers,
    gates: Gates,
    figures: dict[str, Any],
    failures: list[str],
) -> None:
    figures["golden_cases"] = answers.asked
    for key, outcomes, least in (
        ("exact", answers.exact, gates.least_exact),
        ("json", answers.json, gates.least_json),
    ):
        if not outcomes:
            continue
        share = sum(outcomes) / len(outcomes)
        figures[key] = round(share, 4)
        if share < least:
            what = "as expected" if key == "exact" else "JSON as expected"
            wrong = f" The first that was not: {answers.first_wrong}" if answers.first_wrong else ""
            failures.append(f"{sum(outcomes)} of {len(outcomes)} answers were {what}; {least:.0%} are needed.{wrong}")
    if answers.logprobs:
        value = perplexity(answers.logprobs)
        figures["perplexity"] = _short(value) if math.isfinite(value) else None
        most = gates.most_perplexity
        if not math.isfinite(value) or (most is not None and value > most):
            bound = "" if most is None else f"; at most {most:g} is allowed"
            failures.append(f"Its perplexity on the golden texts is {value:.4g}{bound}.")
    if answers.cosines:
        mean, worst = math.fsum(answers.cosines) / len(answers.cosines), min(answers.cosines)
        figures |= {"mean_cosine": round(mean, 5), "worst_cosine": round(worst, 5)}
        for name, value, least in (
            ("mean", mean, gates.least_mean_cosine),
            ("worst", worst, gates.least_worst_cosine),
        ):
            if value < least:
                failures.append(
                    f"The {name} cosine to the golden vectors is {value:.4f}; at least {least:g} is needed."
                )
    if answers.words:
        percent = 100 * answers.word_errors / answers.words
        figures["wer_percent"] = round(percent, 2)
        if percent > gates.most_wer_percent:
            failures.append(
                f"The word error rate on the golden recordings is {percent:.1f}%; "
                f"at most {gates.most_wer_percent:g}% is allowed."
            )


def _short(value: float) -> float:
    """Four figures: what was measured is no more exact."""
    return float(f"{value:.4g}")
