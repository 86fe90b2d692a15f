from __future__ import annotations

from array import array
from math import inf, nan, sqrt

import pytest

from agent.errors import EngineError, RequestError
from agent.search.vectors import floats, normalized


@pytest.mark.parametrize("scale", [1.0, 1e-25, 1e25, -3.0])
def test_a_vector_is_stored_with_length_one(scale: float) -> None:
    unit = normalized(array("f", [3 * scale, 4 * scale]), 2, what="x")
    assert unit.tolist() == pytest.approx([0.6 * scale / abs(scale), 0.8 * scale / abs(scale)], rel=1e-6)
    assert sqrt(sum(value**2 for value in unit)) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        ([0.0, 0.0], "is zero"),
        ([1e-40, 0.0], "is zero"),
        ([1.0, nan], "not finite"),
        ([inf, 1.0], "not finite"),
        ([1.0, 2.0, 3.0], "3 dimensions, the collection has 2"),
    ],
)
def test_what_is_no_direction_is_refused_by_name(vector: list[float], message: str) -> None:
    with pytest.raises(EngineError, match=f"of 'row 7'.*{message}"):
        normalized(array("f", vector), 2, what="'row 7'")


def test_bytes_and_arrays_of_floats_are_the_same_vector() -> None:
    values = array("f", [1.0, 2.0, 3.0])
    for given in (values, values.tobytes(), bytearray(values.tobytes()), memoryview(values)):
        assert floats(given).tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("given", [b"", b"abc", memoryview(b"12345678")[::2]])
def test_bytes_that_are_no_floats_are_refused(given: bytes) -> None:
    with pytest.raises(RequestError):
        floats(given)


def test_doubles_are_not_taken_for_floats() -> None:
    with pytest.raises(RequestError, match="float32"):
        floats(array("d", [1.0]))
