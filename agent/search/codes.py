"""8-bit codes of vectors, and a bound that makes a search through them exact.

A vector x of length 1 is kept as x = s c + e with c int8 [dim], s = max|x| / 127, and the length of e, its margin. The
query is kept as two such terms, q = s1 c1 + s2 c2 + r, so that |r| is almost nothing. Then

    x . q = s (s1 c . c1 + s2 c . c2)  +  e . (q - r)  +  x . r

and by Cauchy-Schwarz the last two terms are at most |e| |q - r| + |r|. What the codes say is therefore off by no more
than that: a row whose upper bound is below the k-th best lower bound cannot be among the k nearest, and only
the others are compared exactly. The codes are a quarter of the vectors; that is what makes a scan fast.

A block is `BLOCK_ROWS` rows; row `i` stands in block i // BLOCK_ROWS at place i % BLOCK_ROWS. An unused place has
scale 0.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapreplace
from math import inf
from typing import Final

from agent.errors import StoreError
from agent.search.kernels import Vector, bounds, distance, highest, largest, length, minus, rounded, scaled

BLOCK_ROWS: Final = 512
LEVELS: Final = 127
# Rounding in float32 along the way: relative 2**-24 on values of at most 1, dim of them, taken generously.
ROUNDING: Final = 4e-6
# Less than this of the query is not worth a second term.
SMALLEST: Final = 1e-12
UNUSED: Final = -8.0
"""The margin of an unused place: whatever the query, its upper bound is below every possible score."""


@dataclass(frozen=True)
class Code:
    """One row's code: `values` int8 [dim], and two floats."""

    values: Vector
    scale: float
    margin: float


def encode(vector: Vector) -> Code:
    """The code of float32 [dim], not all zero."""
    scale = largest(vector) / LEVELS
    codes = rounded(scaled(vector, 1 / scale))
    return Code(codes, scale, distance(vector, scaled(codes, scale)) + ROUNDING)


class Block:
    """The codes of `BLOCK_ROWS` rows, to be changed and written back."""

    def __init__(self, dim: int, stored: tuple[bytes, bytes, bytes] | None = None) -> None:
        self._dim = dim
        if stored is None:
            self._codes = bytearray(BLOCK_ROWS * dim)
            self._scales = array("d", bytes(8 * BLOCK_ROWS))
            self._margins = array("d", [UNUSED]) * BLOCK_ROWS
        else:
            check_sizes(dim, *stored)
            self._codes = bytearray(stored[0])
            self._scales, self._margins = array("d", stored[1]), array("d", stored[2])

    def put(self, place: int, code: Code) -> None:
        self._codes[place * self._dim : (place + 1) * self._dim] = code.values
        self._scales[place] = code.scale
        self._margins[place] = code.margin

    def clear(self, place: int) -> None:
        self._codes[place * self._dim : (place + 1) * self._dim] = bytes(self._dim)
        self._scales[place] = 0.0
        self._margins[place] = UNUSED

    @property
    def empty(self) -> bool:
        return not any(self._scales)

    def stored(self) -> tuple[bytes, bytes, bytes]:
        """codes int8 [rows, dim], scales float64 [rows], margins float64 [rows]."""
        return bytes(self._codes), self._scales.tobytes(), self._margins.tobytes()


def check_sizes(dim: int, codes: bytes, scales: bytes, margins: bytes) -> None:
    """Raises `StoreError` unless the three belong to one block: NumKong is never given a damaged one."""
    if (len(codes), len(scales), len(margins)) != (BLOCK_ROWS * dim, BLOCK_ROWS * 8, BLOCK_ROWS * 8):
        raise StoreError(
            "The collection's codes are damaged.", hint="Rebuild them: vacuum the collection, or create it again."
        )


class Bounds:
    """Upper and lower bounds of the scores of a block's rows against one query, float32 [dim] of length 1."""

    def __init__(self, query: Vector) -> None:
        self._dim = len(query)
        first = encode(query)
        rest = minus(query, scaled(first.values, first.scale))
        second = encode(rest) if length(rest) > SMALLEST else Code(memoryview(bytes(self._dim)), 0.0, SMALLEST)
        self._pair = memoryview(bytes(first.values) + bytes(second.values)).cast("b", shape=[2, self._dim])
        self._scales = first.scale, second.scale
        self._length = 1.0 + second.margin + ROUNDING
        self.slack = second.margin + ROUNDING

    def upper(self, codes: bytes, scales: bytes, margins: bytes) -> Vector:
        """float64 [BLOCK_ROWS]: no row's score is above its value. The blobs are those of `Block.stored`."""
        check_sizes(self._dim, codes, scales, margins)
        rows = memoryview(codes).cast("b", shape=[BLOCK_ROWS, self._dim])
        columns = memoryview(scales).cast("d"), memoryview(margins).cast("d")
        return bounds(self._pair, self._scales, rows, *columns, self._length)

    def width(self, margin: float) -> float:
        """How far the lower bound is below the upper one."""
        return 2 * (margin * self._length + self.slack)


class Nearest:
    """Which rows can be among the k nearest, as far as the blocks seen so far tell."""

    def __init__(self, bounds: Bounds, k: int) -> None:
        self._bounds = bounds
        self._lows = [-inf] * k  # a heap: the k best lower bounds, the worst first
        self._seen: list[tuple[float, int]] = []

    def see(self, block: int, codes: bytes, scales: bytes, margins: bytes, places: Sequence[int] | None) -> None:
        """Take the rows of a block into account: those at `places`, or all."""
        upper = self._bounds.upper(codes, scales, margins)
        slack = self._bounds.slack
        best = highest(upper) + slack
        if best < self._lows[0] or best <= UNUSED / 2:
            return
        values = upper.tolist()
        widths = memoryview(margins).cast("d")
        base = block * BLOCK_ROWS
        for place in range(BLOCK_ROWS) if places is None else places:
            value = values[place] + slack
            if value >= self._lows[0] and value > UNUSED / 2:
                self._seen.append((value, base + place))
                low = value - self._bounds.width(widths[place])
                if low > self._lows[0]:
                    heapreplace(self._lows, low)

    def candidates(self) -> list[tuple[float, int]]:
        """(upper bound, row), the best first; every row that is left out is worse than k of these."""
        return sorted(((value, row) for value, row in self._seen if value >= self._lows[0]), reverse=True)
