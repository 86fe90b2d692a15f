"""The numerical parts of word timestamps against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.engines.onnx.whisper.alignment import attention_matrix, median_filter, token_starts, warp


@pytest.mark.parametrize("width", [1, 3, 5, 7, 9])
@pytest.mark.parametrize("length", [1, 3, 4, 5, 30])
def test_the_median_filter_is_one(width: int, length: int) -> None:
    values = np.random.default_rng(width).normal(size=(2, 3, length)).astype(np.float32)
    given_values = values.copy()
    found = median_filter(values, width)
    reach = width // 2
    if length <= reach:  # nothing to mirror: left as it is, as openai/whisper does
        assert np.array_equal(found, values)
        return
    padded = np.pad(values, [(0, 0), (0, 0), (reach, reach)], mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, width, axis=-1)
    assert np.array_equal(found, np.median(windows, axis=-1).astype(np.float32))
    assert np.array_equal(values, given_values)


def cheapest(costs: np.ndarray) -> float:
    """The cost of the best path, by the book."""
    rows, columns = costs.shape
    total = np.full((rows + 1, columns + 1), np.inf)
    total[0, 0] = 0
    for i in range(rows):
        for j in range(columns):
            total[i + 1, j + 1] = costs[i, j] + min(total[i, j], total[i, j + 1], total[i + 1, j])
    return float(total[rows, columns])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 12), st.integers(0, 10**6))
def test_the_path_is_the_cheapest_and_never_goes_back(rows: int, columns: int, seed: int) -> None:
    costs = np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)
    down, along = warp(costs)
    assert (down[0], along[0]) == (0, 0)
    assert (down[-1], along[-1]) == (rows - 1, columns - 1)
    steps = np.stack([np.diff(down), np.diff(along)])
    assert ((steps == 0) | (steps == 1)).all()
    assert (steps.sum(axis=0) > 0).all()
    assert costs[down, along].sum() == pytest.approx(cheapest(costs), abs=1e-4)


def test_tokens_begin_where_their_attention_does() -> None:
    starts = [0, 10, 24, 31, 47]
    weights = np.full((2, len(starts), 60), 0.001, dtype=np.float32)
    for token, (start, end) in enumerate(zip(starts, [*starts[1:], 60], strict=True)):
        weights[:, token, start:end] = 1.0
    found = token_starts(attention_matrix(weights, filter_width=7))
    assert np.abs(found - starts).max() <= 1


def test_a_position_that_nobody_prefers_is_not_a_division_by_zero() -> None:
    weights = np.full((1, 3, 8), 1 / 8, dtype=np.float32)
    assert np.isfinite(attention_matrix(weights, filter_width=7)).all()
