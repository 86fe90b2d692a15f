"""How a step is shared out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.engines.llama.pace import LONGEST_PREFILL_STEP_S, LONGEST_STEP_RATIO, Pace, Work, share_step


def learned(step_s: float = 0.04, token_s: float = 0.004) -> Pace:
    pace = Pace()
    for _ in range(50):
        pace.observe(decoding=1, prefill_tokens=0, seconds=step_s)
        pace.observe(decoding=1, prefill_tokens=20, seconds=step_s + 20 * token_s)
        pace.observe(decoding=0, prefill_tokens=64, seconds=step_s + 64 * token_s)
    return pace


def work(*remaining: int) -> list[Work]:
    return [Work(key, tokens, 512) for key, tokens in enumerate(remaining)]


@pytest.mark.parametrize(("step_s", "token_s"), [(0.04, 0.004), (0.4, 0.1), (0.005, 0.0001)])
def test_a_prompt_beside_streams_keeps_the_step_within_the_ratio(step_s: float, token_s: float) -> None:
    pace = learned(step_s, token_s)
    tokens = pace.prefill_tokens(decoding=1, limit=512)
    assert tokens == 8 or step_s + tokens * token_s <= step_s * LONGEST_STEP_RATIO * 1.05


def test_a_prompt_alone_is_computed_in_steps_that_a_newcomer_can_wait_for() -> None:
    tokens = learned().prefill_tokens(decoding=0, limit=512)
    assert tokens >= 64
    assert 0.04 + tokens * 0.004 <= LONGEST_PREFILL_STEP_S * 1.1


def test_a_slow_first_measurement_does_not_keep_chunks_small_for_ever() -> None:
    pace = Pace()
    pace.observe(decoding=1, prefill_tokens=8, seconds=4.0)
    pace.observe(decoding=1, prefill_tokens=0, seconds=0.04)
    for _ in range(100):
        tokens = pace.prefill_tokens(decoding=0, limit=512)
        pace.observe(decoding=0, prefill_tokens=tokens, seconds=0.04 + tokens * 0.004)
    assert pace.prefill_tokens(decoding=0, limit=512) >= 64


def test_a_token_beside_streams_may_cost_more_than_one_alone() -> None:
    pace = learned(0.04, 0.004)
    alone = pace.prefill_tokens(decoding=0, limit=512)
    for _ in range(50):
        pace.observe(decoding=1, prefill_tokens=10, seconds=0.04 + 10 * 0.009)
    assert pace.prefill_tokens(decoding=0, limit=512) == alone
    assert pace.prefill_tokens(decoding=1, limit=512) == 8


def test_before_anything_is_known_chunks_are_small() -> None:
    assert Pace().prefill_tokens(decoding=2, limit=512) == 8


@pytest.mark.parametrize(
    ("name", "remaining", "expected"),
    [
        ("decoding only", (1, 1, 1), {0: 1, 1: 1, 2: 1}),
        ("one prompt among streams", (1, 1000, 1), {0: 1, 1: 18, 2: 1}),
        ("a short prompt overtakes half of a long one", (1, 1000, 5), {0: 1, 1: 13, 2: 5}),
        ("the oldest takes what is left", (1, 1000, 3), {0: 1, 1: 15, 2: 3}),
        ("a finished oldest leaves room", (1, 4, 1000), {0: 1, 1: 4, 2: 14}),
    ],
)
def test_shares(name: str, remaining: tuple[int, ...], expected: dict[int, int]) -> None:
    assert dict(share_step(work(*remaining), batch_tokens=512, pace=learned())) == expected, name


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=20), st.integers(1, 64), st.booleans())
def test_a_step_always_advances_and_never_overflows(remaining: list[int], batch: int, known: bool) -> None:
    shares = share_step(work(*remaining), batch_tokens=batch, pace=learned() if known else Pace())
    assert 1 <= sum(tokens for _, tokens in shares) <= batch
    assert all(1 <= tokens <= remaining[key] for key, tokens in shares)
    assert len({key for key, _ in shares}) == len(shares)


def test_a_prompt_with_outputs_for_every_token_is_cut_to_what_the_buffers_hold() -> None:
    shares = share_step([Work(0, 100, 4)], batch_tokens=512, pace=learned())
    assert shares == [(0, 4)]
