"""Measuring vectors: exact on cases that can be worked out by hand, and the built-in sentences are what they claim."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agent.errors import EngineError, RequestError
from convert.quality.vectors import MOST_SENTENCES, built_in_sentences, compare, read_sentences

# On a circle: at 0, 10, 30 and 90 degrees.
ANGLES = np.radians([0, 10, 30, 90])
CIRCLE = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1).astype(np.float32)


def turned(*degrees: float) -> np.ndarray:
    angles = ANGLES + np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_the_same_vectors_agree_whatever_their_length() -> None:
    perfect = {"mean_cosine": 1, "worst_cosine": 1, "top1_agreement": 1, "rank_agreement": 1}
    assert compare(CIRCLE, CIRCLE) == perfect
    assert compare(CIRCLE, 3 * CIRCLE) == perfect


def test_a_turned_vector_costs_its_cosine_and_its_neighbors() -> None:
    # The third goes from 30 to 5 degrees: for the first and the second it is now the nearest.
    quality = compare(CIRCLE, turned(0, 0, -25, 0))
    assert quality["worst_cosine"] == pytest.approx(np.cos(np.radians(25)), abs=1e-5)
    assert quality["mean_cosine"] == pytest.approx((3 + np.cos(np.radians(25))) / 4, abs=1e-5)
    # Before: 10, 0, 10, 30 degrees; after: 5 (the third), 5, then 0 or 10, and 10 for the last.
    assert quality["top1_agreement"] <= 0.25


def test_ranks_are_spearmans() -> None:
    # The pairs' distances go from 10, 20, 30, 60, 80, 90 to 22, 8, 30, 60, 68, 90 degrees: the first two change places.
    quality = compare(CIRCLE, turned(0, 12, 0, 0))
    assert quality["rank_agreement"] == pytest.approx(1 - 6 * 2 / (6 * 35), abs=1e-6)


def test_vectors_all_alike_agree_in_nothing() -> None:
    quality = compare(CIRCLE, np.ones_like(CIRCLE))
    assert quality["rank_agreement"] == 0
    assert quality["worst_cosine"] == pytest.approx(np.sqrt(0.5), abs=1e-5)


def test_other_dimensions_cannot_be_compared() -> None:
    with pytest.raises(EngineError, match="have 3 dimensions, the reference's 2"):
        compare(CIRCLE, np.ones((4, 3), np.float32))


def test_the_built_in_sentences_are_200_different_ones_of_many_lengths() -> None:
    sentences = built_in_sentences()
    lengths = [len(sentence.split()) for sentence in sentences]
    assert len(set(sentences)) == len(sentences) == 200
    assert min(lengths) <= 2
    assert max(lengths) >= 60
    assert sum(sentence.endswith(("?", "？")) for sentence in sentences) >= 20
    assert sum(not sentence.isascii() for sentence in sentences) >= 8


def test_sentences_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("\ufeff" + "\n".join([f" line {i} " for i in range(3000)] + ["", "line 1"]))
    sentences = read_sentences(path)
    assert (len(sentences), sentences[0], sentences[-1]) == (MOST_SENTENCES, "line 0", "line 1999")


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"one\ntwo\n", "has 2 different lines, and 10 are needed"), (b"\xff\xfe", "is not UTF-8: byte 0 is 0xff")],
)
def test_files_without_sentences(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_bytes(content)
    with pytest.raises(RequestError, match=says):
        read_sentences(tmp_path / "text.txt")
