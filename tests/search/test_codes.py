"""The bounds hold for every vector, and what is found through them is what a full comparison finds."""

from __future__ import annotations

from array import array

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import StoreError
from agent.search.codes import BLOCK_ROWS, UNUSED, Block, Bounds, Nearest, check_sizes, encode
from agent.search.vectors import normalized

values = st.floats(-1, 1, width=32).filter(lambda value: value == 0 or abs(value) > 1e-20)


def unit(numbers: list[float]) -> memoryview:
    return normalized(array("f", numbers), len(numbers), what="a test")


def vectors(dim: int) -> st.SearchStrategy[memoryview]:
    return st.lists(values, min_size=dim, max_size=dim).filter(any).map(unit)


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 40).flatmap(lambda dim: st.tuples(vectors(dim), st.lists(vectors(dim), min_size=1, max_size=8))))
def test_no_score_is_outside_its_bounds(case: tuple[memoryview, list[memoryview]]) -> None:
    query, rows = case
    block = Block(len(query))
    for place, row in enumerate(rows):
        block.put(place, encode(row))
    bounds = Bounds(query)
    stored = block.stored()
    upper = bounds.upper(*stored).tolist()
    margins = memoryview(stored[2]).cast("d")
    for place, row in enumerate(rows):
        score = float(np.dot(np.asarray(query, np.float64), np.asarray(row, np.float64)))
        assert upper[place] + bounds.slack - bounds.width(margins[place]) <= score <= upper[place] + bounds.slack
    assert all(value < UNUSED / 2 for value in upper[len(rows) :])


@pytest.mark.parametrize("spread", [1.0, 0.1, 0.001, 0.0], ids=["far", "near", "very near", "all the same"])
@pytest.mark.parametrize("outlier", [0.0, 30.0], ids=["even", "one large dimension"])
def test_the_nearest_are_among_the_candidates(spread: float, outlier: float) -> None:
    generator = np.random.default_rng(3)
    made = generator.standard_normal(64) + spread * generator.standard_normal((3 * BLOCK_ROWS, 64))
    made[:, 5] += outlier
    rows = [unit(list(row)) for row in made]
    query = unit(list(made[0] + 0.1 * generator.standard_normal(64)))
    seen = Nearest(Bounds(query), 10)
    for number in range(3):
        block = Block(64)
        for place in range(BLOCK_ROWS):
            block.put(place, encode(rows[number * BLOCK_ROWS + place]))
        seen.see(number, *block.stored(), None)
    scores = np.array([np.asarray(row, np.float64) for row in rows]) @ np.asarray(query, np.float64)
    candidates = {row for _, row in seen.candidates()}
    assert candidates >= set(np.argsort(-scores, kind="stable")[:10])
    if spread == 1.0 and not outlier:
        assert len(candidates) < 60  # else the codes would save nothing


def test_places_that_are_not_allowed_do_not_raise_the_bar_for_the_others() -> None:
    good, poor = unit([1.0, 0.0]), unit([0.0, 1.0])
    block = Block(2)
    for place in range(10):
        block.put(place, encode(good if place < 5 else poor))
    seen = Nearest(Bounds(good), 3)
    seen.see(0, *block.stored(), [6, 7, 8])
    assert sorted(row for _, row in seen.candidates()) == [6, 7, 8]


def test_a_block_is_read_back_as_it_was_stored() -> None:
    block = Block(3)
    block.put(7, encode(unit([0.1, -0.2, 0.9])))
    again = Block(3, block.stored())
    assert again.stored() == block.stored()
    assert not again.empty
    again.clear(7)
    assert again.empty
    assert again.stored() == Block(3).stored()


def test_a_block_of_the_wrong_size_never_reaches_the_arithmetic() -> None:
    codes, scales, margins = Block(3).stored()
    for damaged in [(codes[:-1], scales, margins), (codes, scales[:-8], margins), (codes, scales, margins + b"x")]:
        with pytest.raises(StoreError, match="damaged"):
            check_sizes(3, *damaged)
        with pytest.raises(StoreError):
            Bounds(unit([1, 0, 0])).upper(*damaged)
