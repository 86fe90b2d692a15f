"""The k passages whose vectors are nearest to a query: exact, by codes first and vectors after."""

from __future__ import annotations

import json
import sqlite3
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from heapq import heappush, heappushpop
from typing import Final

from agent.search.codes import BLOCK_ROWS, Bounds, Nearest
from agent.search.kernels import Vector, dot
from agent.search.vectors import stored_floats

DIRECT_ROWS: Final = 2_000
"""Up to here, comparing the allowed vectors one by one is quicker than going through all codes."""
_FETCH_ROWS: Final = 256


def nearest(
    connection: sqlite3.Connection, query: Vector, k: int, allowed: Sequence[int] | None = None
) -> list[tuple[int, float]]:
    """(passage number, cosine), the nearest first, equal ones by number. `query`: float32 [dim] of length 1.

    `allowed`: the numbers to choose from, ascending; None for all.
    """
    best = _Best(query, k)
    if allowed is not None and len(allowed) <= DIRECT_ROWS:
        best.compare(connection, allowed)
        return best.found()
    # Rows whose codes are out of date: none, unless another program wrote to the database.
    stale = {row for (row,) in connection.execute("SELECT id FROM stale")}
    running = Nearest(Bounds(query), k)
    for block, codes, scales, margins in connection.execute("SELECT block, codes, scales, margins FROM codes"):
        if (places := _places(block, allowed, stale)) is None or places:
            running.see(block, codes, scales, margins, places)
    best.compare(connection, sorted(stale if allowed is None else stale.intersection(allowed)))
    candidates = running.candidates()
    for start in range(0, len(candidates), _FETCH_ROWS):
        part = candidates[start : start + _FETCH_ROWS]
        if best.full and part[0][0] < best.worst:
            break
        best.compare(connection, [row for _, row in part])
    return best.found()


def _places(block: int, allowed: Sequence[int] | None, stale: set[int]) -> list[int] | None:
    """The places of a block that count, or None where all do."""
    base = block * BLOCK_ROWS
    if allowed is None:
        if not stale:
            return None
        return [place for place in range(BLOCK_ROWS) if base + place not in stale]
    span = allowed[bisect_left(allowed, base) : bisect_left(allowed, base + BLOCK_ROWS)]
    return [row - base for row in span if row not in stale]


class _Best:
    """The k best by exact score."""

    def __init__(self, query: Vector, k: int) -> None:
        self._query = query
        self._k = k
        self._heap: list[tuple[float, int]] = []  # (score, -number), the worst first

    def compare(self, connection: sqlite3.Connection, rows: Sequence[int]) -> None:
        for row, vector in _vectors(connection, rows):
            entry = dot(self._query, stored_floats(vector, len(self._query))), -row
            if self.full:
                heappushpop(self._heap, entry)
            else:
                heappush(self._heap, entry)

    @property
    def full(self) -> bool:
        return len(self._heap) >= self._k

    @property
    def worst(self) -> float:
        return self._heap[0][0]

    def found(self) -> list[tuple[int, float]]:
        return [(-negative, score) for score, negative in sorted(self._heap, reverse=True)]


def _vectors(connection: sqlite3.Connection, rows: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    for start in range(0, len(rows), _FETCH_ROWS):
        yield from connection.execute(
            "SELECT id, vector FROM vectors WHERE id IN (SELECT value FROM json_each(?))",
            (numbers_json(rows[start : start + _FETCH_ROWS]),),
        )


def numbers_json(rows: Iterable[int]) -> str:
    """Row numbers as one bound parameter: SQLite limits how many there may be."""
    return json.dumps(list(rows))
