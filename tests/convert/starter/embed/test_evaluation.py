"""How similarities of two models are compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from convert.starter.embed.evaluation import agreement, spearman
from convert.starter.embed.pairs import Pair

ANGLES = {"a": 0.0, "b": 0.2, "c": 0.9, "d": 1.4, "e": 2.5}
PAIRS = [Pair("a", other, "near" if other in "bc" else "far") for other in "bcde"]


def turned(texts: Sequence[str]) -> np.ndarray:
    return np.array([[np.cos(ANGLES[text]), np.sin(ANGLES[text])] for text in texts], np.float32)


def stretched(texts: Sequence[str]) -> np.ndarray:
    return 7 * turned(texts)


def reversed_order(texts: Sequence[str]) -> np.ndarray:
    order = {"a": 0.0, "b": 2.5, "c": 1.4, "d": 0.9, "e": 0.2}
    return np.array([[np.cos(order[text]), np.sin(order[text])] for text in texts], np.float32)


@pytest.mark.parametrize(("student", "expected"), [(turned, 1.0), (stretched, 1.0), (reversed_order, -1.0)])
def test_agreement_is_of_the_order_of_the_cosines(student, expected: float) -> None:  # type: ignore[no-untyped-def]
    found = agreement(PAIRS, student, turned)
    assert found["spearman"] == found["spearman_near"] == found["spearman_far"] == expected
    assert found["pairs"] == 4
    assert (found["mean_difference"] == 0) == (expected == 1.0)


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ([1, 2, 3, 4], [10, 20, 30, 1000], 1.0),
        ([1, 2, 3, 4], [4, 3, 2, 1], -1.0),
        ([1, 1, 2, 2], [1, 2, 3, 4], 0.8944),  # ties share a place: scipy.stats.spearmanr says the same
        ([1, 2, 3], [5, 5, 5], 0.0),
    ],
)
def test_spearman(left: list[float], right: list[float], expected: float) -> None:
    assert spearman(np.array(left, float), np.array(right, float)) == pytest.approx(expected, abs=1e-4)
