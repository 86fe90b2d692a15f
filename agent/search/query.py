"""A query to a collection and what it finds."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from agent.errors import RequestError, StoreError
from agent.search.filters import Condition, condition
from agent.search.fusion import Fused, reciprocal_rank_fusion
from agent.search.nearest import nearest, numbers_json
from agent.search.vectors import Floats, normalized
from agent.search.words import best_by_words

Mode = Literal["vector", "text", "hybrid"]
K_LIMIT: Final = 1_000
DEPTH_FACTOR: Final = 4
DEPTH_LEAST: Final = 50
"""A hybrid ranking joins the first max(4 k, 50) of either."""
TEXT_LIMIT: Final = 16_000_000
"""Characters that all hits may have together: a device must be able to send them."""


@dataclass(frozen=True)
class Hit:
    """A passage that was found.

    `score` is the cosine (mode vector), BM25 (text) or the reciprocal rank sum (hybrid); `ranks` says where it stood,
    1 being the best, in the ranking "vector", "text" or both.
    """

    id: str
    score: float
    text: str
    metadata: dict[str, Any]
    ranks: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Query:
    """What to look for: `vector` float32 [dim] for modes vector and hybrid, `text` for modes text and hybrid."""

    vector: Floats | None = None
    text: str | None = None
    k: int = 10
    filter: Mapping[str, Any] | None = None
    mode: Mode = "vector"


def check(query: Query) -> Condition | None:
    """Raises `RequestError` for a mode, a `k` or a filter that is not possible; returns the filter's condition."""
    if query.mode not in get_args(Mode):
        raise RequestError(f"mode: {query.mode!a}; expected vector, text or hybrid.", param="mode")
    if isinstance(query.k, bool) or not isinstance(query.k, int) or not 1 <= query.k <= K_LIMIT:
        raise RequestError(f"k: {query.k!a}; expected 1 to {K_LIMIT:,}.", param="k")
    return condition(query.filter) if query.filter is not None else None


def run(connection: sqlite3.Connection, dim: int, query: Query) -> list[Hit]:
    """The best `k` passages. Call it inside a snapshot. Raises `RequestError` for a query that is not complete."""
    allowed = check(query)
    depth = query.k if query.mode != "hybrid" else max(DEPTH_FACTOR * query.k, DEPTH_LEAST)
    rankings: dict[str, list[tuple[int, float]]] = {}
    if query.mode in ("vector", "hybrid"):
        if query.vector is None:
            raise RequestError(f"The mode {query.mode} needs the query's vector.", param="query")
        vector = normalized(query.vector, dim, what="the query")
        rankings["vector"] = nearest(connection, vector, depth, _allowed_rows(connection, allowed))
    if query.mode in ("text", "hybrid"):
        if query.text is None:
            raise RequestError(f"The mode {query.mode} needs the query's text.", param="query")
        rankings["text"] = best_by_words(connection, query.text, depth, allowed)
    return _hits(connection, _joined(rankings, query.k))


def metadata_of(stored: object) -> dict[str, Any]:
    """Metadata from the database. Raises `StoreError` for what was never written there."""
    try:
        metadata = json.loads(stored) if isinstance(stored, str) else None
    except ValueError:
        metadata = None
    if not isinstance(metadata, dict):
        raise StoreError("The collection's metadata is damaged.", hint="Create the collection again from its source.")
    return metadata


def _allowed_rows(connection: sqlite3.Connection, allowed: Condition | None) -> list[int] | None:
    if allowed is None:
        return None
    found = connection.execute(f"SELECT id FROM passages WHERE {allowed.sql} ORDER BY id", allowed.parameters)
    return [row for (row,) in found]


def _joined(rankings: Mapping[str, list[tuple[int, float]]], k: int) -> list[Fused[int]]:
    if len(rankings) == 1:
        ((name, ranking),) = rankings.items()
        return [Fused(row, score, {name: rank}) for rank, (row, score) in enumerate(ranking, start=1)]
    return reciprocal_rank_fusion({name: [row for row, _ in ranking] for name, ranking in rankings.items()}, k)


def _hits(connection: sqlite3.Connection, found: list[Fused[int]]) -> list[Hit]:
    rows: dict[int, tuple[str, str, dict[str, Any]]] = {}
    characters = 0
    for row, key, text, metadata in connection.execute(
        "SELECT id, key, text, metadata FROM passages WHERE id IN (SELECT value FROM json_each(?))",
        (numbers_json(one.item for one in found),),
    ):
        rows[row] = (key, text, metadata_of(metadata))
        characters += len(text) + len(metadata)
        if characters > TEXT_LIMIT:
            raise RequestError(f"{len(found)} passages hold more text than one answer can.", hint="Ask for fewer: k.")
    hits: list[Hit] = []
    for one in found:
        if one.item not in rows:
            raise StoreError("The index of words is damaged.", hint="Create the collection again from its source.")
        key, text, metadata = rows[one.item]
        hits.append(Hit(id=key, score=one.score, text=text, metadata=metadata, ranks=one.ranks))
    return hits
