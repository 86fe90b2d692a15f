"""Which token may come next, as tables. Tokens: 0-9 text, 10 end, 11-15 special, 16 no timestamps, 17-26 timestamps."""

from __future__ import annotations

import numpy as np
import pytest

from agent.engines.onnx.whisper.artifact import WhisperSpec
from agent.engines.onnx.whisper.rules import TimestampRules, log_probability, probabilities, rules_for
from tests.engines.onnx.whisper.spec import make_spec

EOT, BEGIN, SIZE = 10, 17, 27
TEXT = set(range(10))
BEFORE_TIMES = set(range(BEGIN))


def times(first: int, last: int = 9) -> set[int]:
    return {BEGIN + index for index in range(first, last + 1)}


def flat(likely: float = 20.0) -> np.ndarray:
    """All tokens are as likely, but for a word and the end: those are far more likely than all timestamps together."""
    logits = np.zeros(SIZE, dtype=np.float32)
    logits[[3, EOT]] = likely
    return logits


def allowed(logits: np.ndarray) -> set[int]:
    return set(np.flatnonzero(np.isfinite(logits)).tolist())


@pytest.mark.parametrize(
    ("sampled", "expected"),
    [
        ([], times(0, 4)),  # a timestamp first, and an early one
        ([17], BEFORE_TIMES),  # the one that opens is followed by text
        ([17, 3], BEFORE_TIMES | times(1)),  # it closes later than it opened
        ([17, 3, 20], {EOT, *range(11, 17)} | times(3)),  # closed: end, or open again, at the same time too
        ([17, 3, 20, 20], BEFORE_TIMES),  # opened again: text
        ([17, 3, 20, 20, 4], BEFORE_TIMES | times(4)),
        ([17, 3, 20, 22, 4, 5], BEFORE_TIMES | times(6)),
        ([17, 3, 26], {EOT, *range(11, 17)} | times(9)),
        ([3, 4], BEFORE_TIMES | times(0)),  # text without a timestamp, as after a prompt
    ],
)
def test_timestamps_come_first_in_pairs_and_never_go_back(sampled: list[int], expected: set[int]) -> None:
    logits = flat()
    TimestampRules(begin=BEGIN, eot=EOT, max_initial_index=4).apply(logits, sampled)
    assert allowed(logits) == expected


def test_the_first_timestamp_is_any_where_the_model_sets_no_limit() -> None:
    logits = flat()
    TimestampRules(begin=BEGIN, eot=EOT, max_initial_index=None).apply(logits, [])
    assert allowed(logits) == times(0)


@pytest.mark.parametrize(
    ("text_logit", "expected"),
    [
        (2.0, times(1)),  # nine timestamps at 0 add up to 2.197: more than any one token
        (2.3, BEFORE_TIMES | times(1)),
    ],
)
def test_timestamps_win_when_together_they_are_more_likely_than_any_token(
    text_logit: float, expected: set[int]
) -> None:
    logits = flat(text_logit)
    TimestampRules(begin=BEGIN, eot=EOT, max_initial_index=4).apply(logits, [17, 3])
    assert allowed(logits) == expected


def spec() -> WhisperSpec:
    return make_spec(
        vocab_size=SIZE,
        tokens={
            "eot": 10,
            "sot": 11,
            "translate": 12,
            "transcribe": 13,
            "sot_lm": None,
            "sot_prev": 14,
            "no_speech": 15,
            "no_timestamps": 16,
            "timestamp_begin": 17,
        },
        languages={"en": 9},
        suppress_tokens=[1, 2],
        begin_suppress_tokens=[0, 10],
    )


@pytest.mark.parametrize(
    ("sampled", "forbidden"),
    [
        ([], {0, 1, 2, 10, 11, 12, 13, 14, 15}),  # the model's lists, and what stands only in a prompt
        ([3], {1, 2, 11, 12, 13, 14, 15}),
    ],
)
def test_without_timestamps_only_the_suppress_lists_apply(sampled: list[int], forbidden: set[int]) -> None:
    logits = flat()
    rules_for(spec(), timestamps=False).apply(logits, sampled)
    assert allowed(logits) == set(range(SIZE)) - forbidden


def test_with_timestamps_the_token_against_them_is_suppressed_too() -> None:
    logits = flat()
    rules_for(spec(), timestamps=True).apply(logits, [17])
    assert allowed(logits) == BEFORE_TIMES - {1, 2, 11, 12, 13, 14, 15, 16}


def test_rules_leave_the_logits_of_what_is_allowed_alone() -> None:
    logits = np.arange(SIZE, dtype=np.float32)
    rules_for(spec(), timestamps=False).apply(logits, [3])
    left = sorted(allowed(logits))
    assert logits[left].tolist() == left


def test_probabilities_are_a_softmax_over_the_chosen_alone() -> None:
    logits = np.log(np.array([0.1, 0.6, 0.3], dtype=np.float32))
    assert probabilities(logits, [2, 0]) == pytest.approx([0.75, 0.25])
    assert log_probability(logits, 1) == pytest.approx(np.log(0.6))


def test_a_log_probability_of_large_logits_is_exact() -> None:
    logits = np.array([1000.0, 1000.0, -np.inf], dtype=np.float32)
    assert log_probability(logits, 0) == pytest.approx(-np.log(2))
