"""Whose turn it is: requests in the order in which they came; live passes go first, within limits. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Generic, TypeVar

T = TypeVar("T")

OVERTAKEN_AT_MOST: Final = 3
"""A file waits for no more than so many live passes at a time, and so gets a quarter of the turns under any load."""


@dataclass(frozen=True)
class _Entry(Generic[T]):
    id: int
    live: bool
    item: T


class Turns(Generic[T]):
    """A live pass is short and somebody waits for its words; a file is neither."""

    def __init__(self) -> None:
        self._waiting: list[_Entry[T]] = []
        self._overtaken = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, id: int, item: T, *, live: bool) -> None:
        self._waiting.append(_Entry(id, live, item))

    def drop(self, id: int) -> T | None:
        """What waited under `id`, or None where nothing does (any more)."""
        for index, entry in enumerate(self._waiting):
            if entry.id == id:
                del self._waiting[index]
                return entry.item
        return None

    def next(self) -> T | None:
        """Removes and returns whose turn it is; None when nobody waits."""
        if not self._waiting:
            return None
        first_live = next((index for index, entry in enumerate(self._waiting) if entry.live), 0)
        if first_live and self._overtaken >= OVERTAKEN_AT_MOST:
            first_live = 0
        self._overtaken = self._overtaken + 1 if first_live else 0
        return self._waiting.pop(first_live).item
