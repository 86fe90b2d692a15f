"""Rows become passages; only what changed is written, and only changed texts wait for a new vector.

Rows are compared with what is stored, text for text, so there is no hash that could be stale or collide. A chunk is one
transaction: after a kill the same rows are given again, and those already there cost a comparison each.
"""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final

from agent.errors import RequestError
from agent.search.row import Row

CHUNK_ROWS: Final = 500


@dataclass(frozen=True)
class Taken:
    """How many rows were new, had another text or other metadata, were as before, or had no text and were left out."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    blank: int = 0

    @property
    def rows(self) -> int:
        return self.added + self.changed + self.unchanged + self.blank


class Intake:
    """One reading of one source into a collection. `collection.intake` makes it."""

    def __init__(self, connection: sqlite3.Connection, source: str) -> None:
        self._connection = connection
        self._source = source
        self.taken = Taken()
        # Which passages this reading has met: on disk, in SQLite's own temporary file, however many they are.
        self._met = f"temp.{_free_name(connection)}"
        connection.execute(f"CREATE TABLE {self._met} (id INTEGER PRIMARY KEY, line INTEGER)")

    @property
    def source(self) -> str:
        return self._source

    def close(self) -> None:
        """Forget what was met. Needed only where the connection lives on."""
        self._connection.execute(f"DROP TABLE IF EXISTS {self._met}")

    def take(self, rows: Iterator[Row]) -> int:
        """The next rows, at most `CHUNK_ROWS`, inside the caller's transaction. Returns how many there were.

        Raises `RequestError` where two rows of the source have the same id.
        """
        chunk = list(islice(rows, CHUNK_ROWS))
        self._connection.execute("INSERT INTO sources (name) VALUES (?) ON CONFLICT DO NOTHING", (self._source,))
        (source,) = self._connection.execute("SELECT id FROM sources WHERE name = ?", (self._source,)).fetchone()
        counts = {"added": 0, "changed": 0, "unchanged": 0, "blank": 0}
        free = iter(
            self._connection.execute("SELECT id FROM holes ORDER BY id LIMIT ?", (len(chunk),)).fetchall()
            if chunk
            else ()
        )
        for row in chunk:
            counts["blank" if not row.text.strip() else self._put(row, source, free)] += 1
        before = self.taken
        self.taken = replace(before, **{name: getattr(before, name) + count for name, count in counts.items()})
        return len(chunk)

    def _put(self, row: Row, source: int, free: Iterator[tuple[int]]) -> str:
        metadata = json.dumps(row.metadata, ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False)
        found = self._connection.execute(
            "SELECT id, text = ?, metadata = ? AND source = ? FROM passages WHERE key = ?",
            (row.text, metadata, source, row.id),
        ).fetchone()
        if found is None:
            (number,) = next(free, (None,))
            number = self._connection.execute(
                "INSERT INTO passages (id, key, source, text, metadata) VALUES (?, ?, ?, ?, ?)",
                (number, row.id, source, row.text, metadata),
            ).lastrowid
            self._meet(number, row)
            return "added"
        number, same_text, same_rest = found
        self._meet(number, row)
        if same_text and same_rest:
            return "unchanged"
        if same_text:
            # Not naming the text keeps its trigger, and the index of words, out of it.
            values: tuple[Any, ...] = (metadata, source, number)
            self._connection.execute("UPDATE passages SET metadata = ?, source = ? WHERE id = ?", values)
        else:
            values = (row.text, metadata, source, number)
            self._connection.execute("UPDATE passages SET text = ?, metadata = ?, source = ? WHERE id = ?", values)
        return "changed"

    def _meet(self, number: int | None, row: Row) -> None:
        met = self._connection.execute(
            f"INSERT OR IGNORE INTO {self._met} (id, line) VALUES (?, ?)", (number, row.line)
        )
        if not met.rowcount:
            (line,) = self._connection.execute(f"SELECT line FROM {self._met} WHERE id = ?", (number,)).fetchone()
            raise RequestError(
                f"{self._source}: line {row.line}: the id {row.id!a} was already at line {line}.",
                hint="Each row needs an id of its own; without --id the row's number is used.",
                param="id",
            )

    def remove_absent(self) -> int:
        """Remove what the source had before and has no longer. Inside a transaction, after the last row."""
        return self._connection.execute(
            "DELETE FROM passages WHERE source = (SELECT id FROM sources WHERE name = ?)"
            f" AND id NOT IN (SELECT id FROM {self._met})",
            (self._source,),
        ).rowcount


def _free_name(connection: sqlite3.Connection) -> str:
    """The same ones again and again: each new text of a statement stays in the connection's cache of prepared ones,
    with some kilobytes, until 128 are there."""
    taken = {name for (name,) in connection.execute("SELECT name FROM temp.sqlite_master WHERE type = 'table'")}
    return next(name for number in itertools.count(1) if (name := f"met_{number}") not in taken)
