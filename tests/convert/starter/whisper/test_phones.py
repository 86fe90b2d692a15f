"""The phones of each position."""

from __future__ import annotations

import numpy as np
import pytest

from convert.starter.whisper.phones import write_phones


@pytest.mark.parametrize(
    ("at", "count", "expected"),
    [
        (0, 1920, [1, 1, 2, 2, 3, 3, 0, 0]),
        (640, 1920, [0, 0, 1, 1, 2, 2, 3, 3]),
        (500, 1920, [0, 0, 1, 1, 2, 2, 3, 0]),  # positions that are whole inside of it
        (1600, 1920, [0, 0, 0, 0, 0, 1, 1, 2]),  # what is beyond the window is cut off
    ],
)
def test_positions_have_the_phone_at_their_center(at: int, count: int, expected: list[int]) -> None:
    labels = np.zeros(8, np.int64)
    write_phones(labels, at, count, np.array([1, 2, 3]), np.array([0, 640, 1280]))
    assert labels.tolist() == expected


def test_an_utterance_without_phones_changes_nothing() -> None:
    labels = np.full(4, 7)
    write_phones(labels, 0, 1280, np.empty(0, np.int64), np.empty(0, np.int64))
    assert labels.tolist() == [7] * 4
