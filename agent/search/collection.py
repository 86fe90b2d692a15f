"""One collection: passages, their vectors and an index of their words in one SQLite database."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agent.errors import RequestError, StoreError
from agent.search import blocks, pending, query
from agent.search.database import COLLECTION, connect
from agent.search.filters import condition
from agent.search.intake import Intake
from agent.search.migrations import migrate
from agent.search.model_id import ModelId, check_model, check_same
from agent.search.name import SUFFIX
from agent.search.query import Hit, Query
from agent.search.row import Row
from agent.search.vectors import Floats
from agent.sqlite import snapshot, transaction

PAGE_LIMIT: Final = 1_000


@dataclass(frozen=True)
class Passage:
    id: str
    text: str
    metadata: dict[str, Any]
    source: str


@dataclass(frozen=True)
class Stats:
    """`waiting` passages have no vector yet: only a search by words finds them. `bytes` counts the log as well."""

    name: str
    model: ModelId
    text_columns: tuple[str, ...]
    sources: tuple[str, ...]
    passages: int
    waiting: int
    bytes: int


class Collection:
    """An open collection, for one thread at a time. Every method raises SQLite's troubles as errors of `agent.errors`.

    `shelf.Shelf` makes and opens it.
    """

    def __init__(self, path: Path, *, connection: sqlite3.Connection | None = None) -> None:
        """Raises `NotFoundError`, or `StoreError` where the file is damaged, foreign, unfinished or too new."""
        self.path = path
        self.name = path.name.removesuffix(SUFFIX)
        self._connection = connection or connect(path)
        try:
            with COLLECTION.translated(path):
                migrate(self._connection, path)
                found = self._connection.execute("SELECT text_columns FROM collection").fetchone()
                if found is None:
                    raise StoreError(f"The collection {path} was never finished.", hint="Remove it, create it again.")
                self.text_columns: tuple[str, ...] = tuple(json.loads(found[0]))
        except BaseException:
            self._connection.close()
            raise

    @classmethod
    def create(cls, path: Path, model: ModelId, text_columns: Sequence[str]) -> Collection:
        """A new collection in a file that is not there yet. A kill may leave it without its model: give it a
        temporary name first, as `Shelf.create` does.
        """
        check_model(model)
        connection = connect(path, create=True)
        try:
            with COLLECTION.translated(path):
                migrate(connection, path)
                with transaction(connection, durable=False):
                    connection.execute(
                        "INSERT INTO collection VALUES (1, ?, ?, ?, 1, ?)",
                        (model.name, model.version, model.dim, json.dumps(list(text_columns))),
                    )
        except BaseException:
            connection.close()
            raise
        return cls(path, connection=connection)

    def close(self) -> None:
        """Moves what the log holds into the database, where no one else has it open."""
        with COLLECTION.translated(self.path):
            # An interrupt that met nothing would otherwise stop the move: it holds until a statement begins.
            self._connection.execute("SELECT 1").fetchone()
            self._connection.close()

    def interrupt(self) -> None:
        """From any thread: a statement that is running ends with `UnavailableError`."""
        self._connection.interrupt()

    @property
    def model(self) -> ModelId:
        with COLLECTION.translated(self.path):
            row = self._connection.execute("SELECT model, model_version, dim FROM collection").fetchone()
        return ModelId(*row)

    def require_model(self, model: ModelId) -> None:
        """Raises `ModelChangedError` unless the collection's vectors come from exactly this model."""
        check_same(self.name, self.model, model)

    def replace_model(self, model: ModelId) -> int:
        """Drop all vectors and wait for new ones, in one step. Returns how many passages wait. Texts are kept."""
        check_model(model)
        with COLLECTION.translated(self.path), transaction(self._connection, durable=False):
            self._connection.execute("DELETE FROM vectors")
            self._connection.execute("DELETE FROM codes")
            self._connection.execute("DELETE FROM stale")
            self._connection.execute("INSERT INTO pending SELECT id FROM passages WHERE true ON CONFLICT DO NOTHING")
            self._connection.execute(
                "UPDATE collection SET model = ?, model_version = ?, dim = ?, generation = generation + 1",
                (model.name, model.version, model.dim),
            )
        return self.count_waiting()

    def stats(self) -> Stats:
        with COLLECTION.translated(self.path), snapshot(self._connection):
            (passages,) = self._connection.execute("SELECT count(*) FROM passages").fetchone()
            (waiting,) = self._connection.execute("SELECT count(*) FROM pending").fetchone()
            sources = tuple(name for (name,) in self._connection.execute("SELECT name FROM sources ORDER BY name"))
            files = (self.path, self.path.with_name(self.path.name + "-wal"))
            size = sum(file.stat().st_size for file in files if file.exists())
        return Stats(self.name, self.model, self.text_columns, sources, passages, waiting, size)

    def intake(self, source: str) -> Intake:
        """Begin to read a source; `forget` it at the end. Several may go on at once."""
        if not source or len(source) > 1_000:
            raise RequestError("A source needs a name of 1 to 1,000 characters.", param="source")
        with COLLECTION.translated(self.path):
            return Intake(self._connection, source)

    def forget(self, intake: Intake) -> None:
        """The reading is over."""
        with COLLECTION.translated(self.path):
            intake.close()

    def take(self, intake: Intake, rows: Iterator[Row]) -> int:
        """Take the next rows in and commit. Returns how many were read; 0 at the end. What `rows` raises goes on out,
        and the chunk it was raised in is not kept.
        """
        with COLLECTION.translated(self.path), transaction(self._connection, durable=False):
            taken = intake.take(rows)
            blocks.settle(self._connection, self._dim())
        return taken

    def remove_absent(self, intake: Intake) -> int:
        """After the last row: remove what this source gave before and did not give now. Returns how many."""
        with COLLECTION.translated(self.path), transaction(self._connection, durable=False):
            removed = intake.remove_absent()
            blocks.settle(self._connection, self._dim())
        return removed

    def waiting(self, limit: int, without: Iterable[int] = ()) -> list[pending.Pending]:
        with COLLECTION.translated(self.path):
            return pending.waiting(self._connection, limit, without)

    def count_waiting(self) -> int:
        with COLLECTION.translated(self.path):
            return int(self._connection.execute("SELECT count(*) FROM pending").fetchone()[0])

    def store(self, batch: Sequence[pending.Pending], vectors: Sequence[Floats]) -> int:
        """Commit one batch of vectors; see `pending.store`."""
        with COLLECTION.translated(self.path), transaction(self._connection, durable=False):
            return pending.store(self._connection, self._dim(), batch, vectors)

    def remove(self, ids: Sequence[str]) -> int:
        """Remove passages by id, all of them or none. Returns how many there were."""
        with COLLECTION.translated(self.path), transaction(self._connection, durable=False):
            removed = 0
            for one in ids:
                removed += self._connection.execute("DELETE FROM passages WHERE key = ?", (one,)).rowcount
            blocks.settle(self._connection, self._dim())
        return removed

    def remove_where(self, given: Mapping[str, Any]) -> int:
        """Remove the passages that a filter finds. Raises `RequestError` for an empty filter: it would find all."""
        if not given:
            raise RequestError("An empty filter would remove every passage.", param="filter")
        wanted = condition(given)
        with COLLECTION.translated(self.path), transaction(self._connection, durable=False):
            removed = self._connection.execute(f"DELETE FROM passages WHERE {wanted.sql}", wanted.parameters).rowcount
            blocks.settle(self._connection, self._dim())
        return removed

    def passages(self, *, after: str | None = None, limit: int = 100) -> list[Passage]:
        """A page of passages in the order of their ids, from behind the id `after`."""
        if not 1 <= limit <= PAGE_LIMIT:
            raise RequestError(f"limit: {limit}; expected 1 to {PAGE_LIMIT:,}.", param="limit")
        with COLLECTION.translated(self.path):
            rows = self._connection.execute(
                "SELECT key, text, metadata, name FROM passages JOIN sources ON sources.id = source"
                " WHERE key > ? OR ? ORDER BY key LIMIT ?",
                (after or "", after is None, limit),
            )
            return [Passage(key, text, query.metadata_of(metadata), source) for key, text, metadata, source in rows]

    def search(self, wanted: Query) -> list[Hit]:
        """See `query.Query` and `query.Hit`. Raises `RequestError`."""
        with COLLECTION.translated(self.path), snapshot(self._connection):
            return query.run(self._connection, self._dim(), wanted)

    def vacuum(self) -> None:
        """Build the codes again, merge the index of words, and give free space back. Needs as much space again."""
        with COLLECTION.translated(self.path):
            with transaction(self._connection, durable=False):
                blocks.rebuild(self._connection, self._dim())
                self._connection.execute("INSERT INTO words (words) VALUES ('optimize')")
            self._connection.execute("VACUUM")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def check(self) -> None:
        """Reads everything. Raises `StoreError` where the database is damaged."""
        with COLLECTION.translated(self.path):
            (found,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
            if found == "ok":
                self._connection.execute("INSERT INTO words (words, rank) VALUES ('integrity-check', 1)")
        if found != "ok":
            raise StoreError(f"The collection database {self.path} is damaged ({found}).")

    def _dim(self) -> int:
        return int(self._connection.execute("SELECT dim FROM collection").fetchone()[0])
