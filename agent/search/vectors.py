"""Vectors as they are stored: float32, little-endian, of length 1."""

from __future__ import annotations

from array import array
from math import isfinite
from typing import Any, Final, TypeAlias

from agent.errors import EngineError, RequestError, StoreError
from agent.search.kernels import Vector, length, scaled

FLOAT_BYTES: Final = 4
Floats: TypeAlias = "bytes | bytearray | memoryview[Any] | array[float]"
"""A vector from outside: the bytes of float32 values, little-endian, or an `array('f')`."""

_LENGTHS: Final = (1e-30, 1e30)


def floats(vector: Floats) -> Vector:
    """The vector as a memoryview of float32 [n]. Raises `RequestError` where its size is no number of floats."""
    view: Vector = memoryview(vector)
    if not view.c_contiguous or view.nbytes == 0 or view.nbytes % FLOAT_BYTES:
        raise RequestError(f"A vector of {view.nbytes} bytes is not made of float32 values.", param="vector")
    if view.format == "f" and view.ndim == 1:
        return view
    if view.format in ("d", "e"):
        raise RequestError("A vector must be of float32 values.", param="vector")
    return view.cast("B").cast("f")


def stored_floats(vector: object, dim: int) -> Vector:
    """A vector from the database, float32 [dim]. Raises `StoreError` for one that the schema would not have let in."""
    if not isinstance(vector, bytes) or len(vector) != FLOAT_BYTES * dim:
        raise StoreError("The collection's vectors are damaged.", hint="Create the collection again from its source.")
    return memoryview(vector).cast("f")


def normalized(vector: Floats, dim: int, *, what: str) -> Vector:
    """float32 [dim], divided by its length, in memory of its own.

    Raises `EngineError`, naming `what`, for another number of dimensions, for NaN or infinity, and for a zero vector.
    """
    values = floats(vector)
    if len(values) != dim:
        raise EngineError(f"The vector of {what} has {len(values)} dimensions, the collection has {dim}.")
    size = length(values)
    shortest, longest = _LENGTHS
    if not isfinite(size) or size > longest:
        raise EngineError(f"The vector of {what} has values that are not finite.")
    if size < shortest:
        raise EngineError(f"The vector of {what} is zero: it has no direction.")
    return scaled(values, 1 / size)
