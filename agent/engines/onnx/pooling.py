"""From the states of all tokens to one vector, for graphs that leave that to whoever runs them.

The semantics are sentence-transformers' (models/Pooling.py, Normalize.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

NO_TOKENS: Final = np.float32(1e-9)
"""The least divisor of a mean."""
NO_LENGTH: Final = np.float32(1e-12)
"""The least length that a vector is divided by."""


def pool(states: FloatArray, mask: FloatArray, modes: Sequence[str]) -> FloatArray:
    """states [B, n, K] and mask [B, n], 1 for a token and 0 for padding at the end -> [B, K * modes]."""
    return np.concatenate([_POOLINGS[mode](states, mask) for mode in modes], axis=1)


def normalize(vectors: FloatArray) -> FloatArray:
    """Each row [B, K] at length 1; a row of zeros stays one."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    result: FloatArray = vectors / np.maximum(lengths, NO_LENGTH)
    return result


def _sums(states: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The weighted sum of the states [B, K], and the sum of the weights [B, 1], not 0."""
    total: FloatArray = np.matmul(weights[:, None, :], states)[:, 0, :]
    count: FloatArray = np.maximum(weights.sum(axis=1, keepdims=True), NO_TOKENS)
    return total, count


def _mean(states: FloatArray, mask: FloatArray) -> FloatArray:
    total, count = _sums(states, mask)
    return total / count


def _mean_sqrt_len(states: FloatArray, mask: FloatArray) -> FloatArray:
    total, count = _sums(states, mask)
    root: FloatArray = np.sqrt(count)
    return total / root


def _weighted_mean(states: FloatArray, mask: FloatArray) -> FloatArray:
    total, count = _sums(states, mask * np.arange(1, mask.shape[1] + 1, dtype=np.float32))
    return total / count


def _max(states: FloatArray, mask: FloatArray) -> FloatArray:
    largest: FloatArray = np.where(mask[:, :, None] > 0, states, np.float32(-1e9)).max(axis=1)
    return largest


def _cls(states: FloatArray, mask: FloatArray) -> FloatArray:
    return states[:, 0]


def _last(states: FloatArray, mask: FloatArray) -> FloatArray:
    last: npt.NDArray[np.int64] = np.maximum(mask.sum(axis=1).astype(np.int64) - 1, 0)
    chosen: FloatArray = states[np.arange(len(states)), last]
    return chosen


_POOLINGS: Final[dict[str, Callable[[FloatArray, FloatArray], FloatArray]]] = {
    "cls": _cls,
    "max": _max,
    "mean": _mean,
    "mean_sqrt_len": _mean_sqrt_len,
    "weightedmean": _weighted_mean,
    "lasttoken": _last,
}
