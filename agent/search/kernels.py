"""Arithmetic on vectors: NumKong's, with SIMD for the processor at hand. It works on buffers and needs no NumPy.

NumKong is loaded when a vector is first used: a daemon without collections does without it, and a processor that it
does not support costs the search and nothing else. Its own stubs name NumPy's types, so this file says what we use.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from math import nan
from typing import Any, TypeAlias

from agent.errors import EngineError

Vector: TypeAlias = "memoryview[Any]"
"""A memoryview of float32 or float64 [n], or of int8 [n], contiguous."""


_NUMPY = ("numpy._core._multiarray_umath", "numpy.core._multiarray_umath")


@cache
def _native() -> Any:
    try:
        with _without_numpy():
            import numkong
    except ImportError as error:
        raise EngineError(
            f"Vectors cannot be compared here: NumKong cannot be loaded ({error}).",
            hint="Install it for this Python and processor: pip install --force-reinstall numkong. "
            "A search by words (mode text) works without it.",
        ) from error
    return numkong


@contextmanager
def _without_numpy() -> Iterator[None]:
    """NumKong looks for NumPy when it is loaded, and would bring its 17 MB into the daemon; it does without."""
    names = [name for name in _NUMPY if name not in sys.modules]
    sys.modules.update(dict.fromkeys(names))  # type: ignore[arg-type]  # None: "cannot be imported"
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]


def length(vector: Vector) -> float:
    """The Euclidean length, summed in float64; NaN or infinity where a value is."""
    return float(_native().norm(vector))


def dot(first: Vector, second: Vector) -> float:
    """The dot product, summed in float64."""
    return float(_native().dot(first, second))


def distance(first: Vector, second: Vector) -> float:
    return float(_native().euclidean(first, second))


def largest(vector: Vector) -> float:
    """The largest absolute value of finite ones."""
    low, _, high, _ = _native().minmax(vector)
    return max(abs(float(low)), abs(float(high)))


def highest(vector: Vector) -> float:
    """The largest value that is a number; NaN where there is none."""
    found = _native().max(vector)
    return nan if found is None else float(found)


def scaled(vector: Vector, factor: float) -> Vector:
    """float32 [n] or int8 [n], as float32 times `factor`."""
    native = _native()
    floats = native.astype(vector, "float32") if vector.format == "b" else vector
    return memoryview(native.scale(floats, alpha=factor, beta=0.0))


def rounded(vector: Vector) -> Vector:
    """int8 [n]: the nearest whole numbers, none beyond -128 and 127."""
    return memoryview(_native().astype(vector, "int8"))


def minus(first: Vector, second: Vector) -> Vector:
    return memoryview(_native().blend(first, second, alpha=1.0, beta=-1.0))


def bounds(
    pair: Vector, factors: tuple[float, float], rows: Vector, scales: Vector, margins: Vector, margin_factor: float
) -> Vector:
    """float64 [n]: scales * (factors[0] * pair[0] . row + factors[1] * pair[1] . row) + margin_factor * margins.

    `pair`: int8 [2, dim]; `rows`: int8 [n, dim]; `scales`, `margins`: float64 [n]. Other threads run meanwhile.
    """
    native = _native()
    dots = native.cdist(pair, rows, "dot")  # float64 [2, n], exact: whole numbers
    both = native.blend(dots[0], dots[1], alpha=factors[0], beta=factors[1])
    return memoryview(native.fma(both, scales, margins, alpha=1.0, beta=margin_factor))
