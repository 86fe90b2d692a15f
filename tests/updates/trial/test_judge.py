"""What was measured of a candidate, and what it comes to."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from agent.updates.trial.golden import Gates
from agent.updates.trial.judge import Answers, Measured, judge
from agent.updates.trial.probation import Load, load_of
from tests.updates.trial.test_probation import LIMITS

MIB = 1024 * 1024
RUNNING = Measured(memory_bytes=100 * MIB, rate_per_s=20.0, unit="tokens")
GOOD = Measured(memory_bytes=110 * MIB, rate_per_s=19.0, unit="tokens", load_s=0.5)


@pytest.mark.parametrize(
    ("measured", "gates", "says"),
    [
        ({}, {}, None),
        ({"memory_bytes": 150 * MIB}, {}, None),
        (
            {"memory_bytes": 200 * MIB},
            {},
            "It takes 200 MiB of memory, 2.00 times as much as the version that runs; 1.5",
        ),
        ({"memory_bytes": 130 * MIB}, {"most_memory_ratio": 1.2}, "1.30 times as much"),
        ({"memory_bytes": 160 * MIB}, {"most_memory_ratio": 9.0}, "1.5 times is allowed"),
        ({"rate_per_s": 10.0}, {}, None),
        (
            {"rate_per_s": 9.0},
            {},
            "It makes 9 tokens a second, 0.45 times as many as the version that runs; at least 0.5",
        ),
        ({"rate_per_s": 15.0}, {"least_speed_ratio": 0.9}, "at least 0.9 times is expected"),
        ({"rate_per_s": 9.0}, {"least_speed_ratio": 0.1}, "at least 0.5 times is expected"),
    ],
)
def test_speed_and_memory_against_the_version_that_runs(
    measured: dict[str, Any], gates: dict[str, Any], says: str | None
) -> None:
    verdict = judge(replace(GOOD, **measured), Answers(), running=RUNNING, gates=Gates(**gates), limits=LIMITS)
    assert verdict.passed == (says is None)
    assert says is None or says in verdict.reasons[0]


@pytest.mark.parametrize(
    ("answers", "gates", "says"),
    [
        ({"exact": [True] * 3}, {}, None),
        (
            {"exact": [True, False], "first_wrong": "'Rome'"},
            {},
            "1 of 2 answers were as expected; 100% are needed. The first",
        ),
        ({"exact": [True, False]}, {"least_exact": 0.5}, None),
        ({"json": [False]}, {}, "0 of 1 answers were JSON as expected"),
        ({"logprobs": [-1.0, -1.0]}, {"most_perplexity": 3.0}, None),
        (
            {"logprobs": [-2.0, -2.0]},
            {"most_perplexity": 3.0},
            "Its perplexity on the golden texts is 7.389; at most 3",
        ),
        ({"logprobs": [-2.0]}, {}, None),
        ({"logprobs": [math.nan]}, {}, "Its perplexity on the golden texts is inf"),
        ({"logprobs": [-1e6] * 9}, {}, "inf"),
        ({"cosines": [1.0, 0.99]}, {}, None),
        ({"cosines": [1.0, 0.98]}, {"least_worst_cosine": 0.985}, "The worst cosine to the golden vectors is 0.9800"),
        ({"cosines": [0.98, 0.98]}, {}, "The mean cosine"),
        ({"words": 100, "word_errors": 4}, {"most_wer_percent": 5}, None),
        (
            {"words": 100, "word_errors": 6},
            {"most_wer_percent": 5},
            "The word error rate on the golden recordings is 6.0%",
        ),
    ],
)
def test_what_the_golden_set_must_reach(answers: dict[str, Any], gates: dict[str, Any], says: str | None) -> None:
    verdict = judge(GOOD, Answers(**answers), running=None, gates=Gates(**gates), limits=LIMITS)
    assert verdict.passed == (says is None)
    assert says is None or says in verdict.reasons[0]


def test_without_a_version_that_runs_nothing_is_compared() -> None:
    verdict = judge(replace(GOOD, rate_per_s=0.001), Answers(), running=None, gates=Gates(), limits=LIMITS)
    assert (verdict.passed, verdict.reasons) == (True, ())


def test_a_speed_that_could_not_be_measured_is_said_and_does_not_count() -> None:
    for candidate, running in ((replace(GOOD, rate_per_s=None), RUNNING), (GOOD, replace(RUNNING, rate_per_s=None))):
        verdict = judge(candidate, Answers(), running=running, gates=Gates(), limits=LIMITS, notes=("A note.",))
        assert verdict.passed
        assert verdict.reasons[0] == "A note."
        assert verdict.reasons[1].startswith("Its speed was not compared: there was no quiet moment to measure in, and")
        assert load_of(verdict.figures) is None


def test_without_a_quiet_moment_it_is_left_to_probation() -> None:
    busy = replace(RUNNING, rate_per_s=None, load_rate_per_s=12.345, load_unit="tokens")
    verdict = judge(
        replace(GOOD, rate_per_s=None), Answers(), running=busy, gates=Gates(least_speed_ratio=0.9), limits=LIMITS
    )
    assert verdict.passed
    assert "On probation it is compared with the 12.35 tokens a second" in verdict.reasons[0]
    assert load_of(verdict.figures) == Load(rate_per_s=12.35, unit="tokens", least_ratio=0.9)
    quiet = judge(GOOD, Answers(), running=replace(busy, rate_per_s=20.0), gates=Gates(), limits=LIMITS)
    assert (quiet.figures["speed_ratio"], load_of(quiet.figures)) == (0.95, None)


@pytest.mark.parametrize(
    ("most_per_s", "passed"), [(None, False), (5.0, False), (9.9, False), (10.0, True), (math.inf, True)]
)
def test_a_speed_that_others_may_be_to_blame_for_is_left_to_probation(most_per_s: float | None, passed: bool) -> None:
    running = replace(RUNNING, load_rate_per_s=12.0, load_unit="tokens")
    slow = replace(GOOD, rate_per_s=5.0, most_rate_per_s=most_per_s)
    verdict = judge(slow, Answers(), running=running, gates=Gates(), limits=LIMITS)
    assert verdict.passed == passed
    assert ("others took the processors meanwhile" in verdict.reasons[0]) == passed
    left = Load(rate_per_s=12.0, unit="tokens", least_ratio=0.5) if passed else None
    assert load_of(verdict.figures) == left
    assert ("speed_ratio" in verdict.figures) != passed


def test_the_figures_are_plain_values_for_the_fleet() -> None:
    answers = Answers(exact=[True], logprobs=[-1.0], asked=2)
    verdict = judge(GOOD, answers, running=RUNNING, gates=Gates(), limits=LIMITS)
    assert verdict.figures == {
        "memory_bytes": 110 * MIB,
        "running_memory_bytes": 100 * MIB,
        "memory_ratio": 1.1,
        "load_s": 0.5,
        "rate_per_s": 19.0,
        "rate_unit": "tokens",
        "running_rate_per_s": 20.0,
        "speed_ratio": 0.95,
        "golden_cases": 2,
        "exact": 1.0,
        "perplexity": 2.718,
    }
