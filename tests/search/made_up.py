"""Passages whose vectors are made up, and the model that makes them."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Sequence

from agent.search.collection import Collection
from agent.search.indexing import steps
from agent.search.model_id import ModelId
from agent.search.row import Row

DIM = 24
MODEL = ModelId("tiny", "1", DIM)


def vector_of(text: str, dim: int = DIM) -> array[float]:
    """float32 [dim] that follows from the text alone."""
    return array("f", ((byte - 127.5) / 127.5 for byte in hashlib.shake_256(text.encode()).digest(dim)))


def rows_of(texts: Sequence[str]) -> list[Row]:
    """Rows with the ids "0", "1", ... and the metadata `number` and `even`."""
    return [Row(str(n), text, {"number": n, "even": n % 2 == 0}, n + 2) for n, text in enumerate(texts)]


def take_all(collection: Collection, rows: Iterable[Row], source: str = "a.csv", *, sync: bool = False) -> int:
    """Take the rows in; with `sync`, returns how many were removed."""
    intake, left = collection.intake(source), iter(rows)
    while collection.take(intake, left):
        pass
    return collection.remove_absent(intake) if sync else 0


def embed_all(collection: Collection, batch_rows: int = 8) -> list[str]:
    """Embed what waits; the texts that were embedded, in order."""
    run = steps(collection, batch_rows)
    seen: list[str] = []
    try:
        texts = next(run)
        while True:
            seen += texts
            texts = run.send([vector_of(text) for text in texts])
    except StopIteration:
        return seen
