"""Sources that come in pieces: which rows of one reading were met survives from one piece to the next."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from agent.errors import RequestError
from agent.search.collection import Collection
from agent.search.intake import Intake, Taken
from agent.search.row import Row

READINGS_LIMIT: Final = 4
"""Of one collection at once; the one that was longest without a piece makes room."""
PATIENCE_S: Final = 600.0

Rows = Callable[[int], Iterator[Row]]
"""The piece's rows; the argument says how many rows of the source came before."""


class UnknownReadingError(RequestError):
    """The daemon was restarted, or the reading was given up for others."""

    status = 409
    code = "unknown_reading"


@dataclass(frozen=True)
class Piece:
    """What a reading has taken in up to and with this piece; `reading` is the id to go on with, None at the end."""

    taken: Taken
    removed: int
    waiting: int
    reading: str | None


@dataclass
class _Reading:
    intake: Intake
    used_at: float


class Readings:
    """The readings of one collection. `take` runs in the thread that writes to it, and so does whatever it calls."""

    def __init__(self) -> None:
        self._open: dict[str, _Reading] = {}

    @property
    def active(self) -> bool:
        """Whether a next piece is expected."""
        now = time.monotonic()
        return any(now - one.used_at < PATIENCE_S for one in list(self._open.values()))

    def take(
        self, collection: Collection, source: str, rows: Rows, *, reading: str | None, more: bool, sync: bool
    ) -> Piece:
        """Take a piece in and commit it. A reading without an id begins; without `more` it ends, and with `sync` what
        the source lacked this time is then removed.

        Raises `UnknownReadingError`, and `RequestError` for an id that came twice, which ends the reading.
        """
        id, intake = self._find(collection, source, reading)
        left = rows(intake.taken.rows)
        removed = 0
        try:
            while collection.take(intake, left):
                pass
            if sync and not more:
                removed = collection.remove_absent(intake)
        except BaseException:
            self._end(collection, id)
            raise
        if not more:
            self._end(collection, id)
        return Piece(intake.taken, removed, collection.count_waiting(), id if more else None)

    def _find(self, collection: Collection, source: str, reading: str | None) -> tuple[str, Intake]:
        now = time.monotonic()
        if reading is None:
            while len(self._open) >= READINGS_LIMIT:
                self._end(collection, min(self._open, key=lambda id: self._open[id].used_at))
            id, found = secrets.token_hex(8), _Reading(collection.intake(source), now)
            self._open[id] = found
            return id, found.intake
        known = self._open.get(reading)
        if known is None or known.intake.source != source:
            raise UnknownReadingError(
                f"No reading {reading[:40]!a} of {source[:80]!a} is going on.",
                hint="Begin again: what was taken in is kept, and costs little the second time.",
                param="reading",
            )
        known.used_at = now
        return reading, known.intake

    def _end(self, collection: Collection, id: str) -> None:
        collection.forget(self._open.pop(id).intake)
