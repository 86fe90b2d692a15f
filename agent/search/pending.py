"""Passages that wait for a vector, and storing the vectors that came."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agent.search.blocks import settle
from agent.search.vectors import Floats, normalized


@dataclass(frozen=True)
class Pending:
    """A passage without a vector, as it was when it was read."""

    number: int
    key: str
    text: str
    generation: int


def waiting(connection: sqlite3.Connection, limit: int, without: Iterable[int] = ()) -> list[Pending]:
    """The first `limit` passages that wait, by number; those `without` are left out."""
    rows = connection.execute(
        "SELECT pending.id, key, text, generation FROM pending JOIN passages USING (id), collection"
        " WHERE pending.id NOT IN (SELECT value FROM json_each(?)) ORDER BY pending.id LIMIT ?",
        (json.dumps(list(without)), limit),
    )
    return [Pending(*row) for row in rows]


def store(connection: sqlite3.Connection, dim: int, batch: Sequence[Pending], vectors: Sequence[Floats]) -> int:
    """Give each passage its vector, inside the caller's transaction; returns how many were kept.

    A passage that was removed, or whose text or model changed since it was read, keeps waiting or is gone: its
    vector is dropped. Raises `EngineError` for a vector that is none.
    """
    units = [normalized(vector, dim, what=ascii(one.key)) for one, vector in zip(batch, vectors, strict=True)]
    kept = 0
    # By number: the batch is in the order of lengths, and pages filled out of order stay half empty.
    for one, unit in sorted(zip(batch, units, strict=True), key=lambda pair: pair[0].number):
        kept += connection.execute(
            "INSERT INTO vectors (id, generation, vector) SELECT id, ?, ? FROM passages"
            " WHERE id = ? AND key = ? AND text = ? AND id IN (SELECT id FROM pending)"
            " AND ? = (SELECT generation FROM collection)",
            (one.generation, unit, one.number, one.key, one.text, one.generation),
        ).rowcount
    settle(connection, dim)
    return kept
