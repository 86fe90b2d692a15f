"""Which phone is said in each position of the encoder."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

POSITION_SAMPLES: Final = 320
"""Of 16 kHz: the encoder has a position each 20 ms."""

Labels = npt.NDArray[np.int64]


def write_phones(labels: Labels, at: int, count: int, phones: Labels, starts: npt.NDArray[np.integer]) -> None:
    """Into `labels`, int64 [positions], what `count` samples from `at` on say: `phones` int64 [n], which begin at the
    samples `starts` [n], counted from `at`.
    """
    if not len(phones):
        return
    first, last = -(-at // POSITION_SAMPLES), min(len(labels), (at + count) // POSITION_SAMPLES)
    centers = np.arange(first, last) * POSITION_SAMPLES + POSITION_SAMPLES // 2 - at
    labels[first:last] = phones[np.maximum(np.searchsorted(starts, centers, side="right") - 1, 0)]
