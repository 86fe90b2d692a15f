"""What the outbox writes to the card, by the hour. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

HOUR_S: Final = 3600.0
_BUCKET_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Written:
    """`syncs` are those commits that wait for the card; the others are left to the system's own time."""

    commits: int = 0
    bytes: int = 0
    syncs: int = 0

    def plus(self, other: Written) -> Written:
        return Written(self.commits + other.commits, self.bytes + other.bytes, self.syncs + other.syncs)


@dataclass
class Wear:
    """`total` is since the start."""

    total: Written = field(default_factory=Written)
    _buckets: deque[tuple[int, Written]] = field(default_factory=deque)

    def add(self, now_s: float, written: Written) -> None:
        self.total = self.total.plus(written)
        number = int(now_s // _BUCKET_S)
        if self._buckets and self._buckets[-1][0] == number:
            self._buckets[-1] = number, self._buckets[-1][1].plus(written)
        else:
            self._buckets.append((number, written))
        self._forget(number)

    def last_hour(self, now_s: float) -> Written:
        self._forget(int(now_s // _BUCKET_S))
        found = Written()
        for _, written in self._buckets:
            found = found.plus(written)
        return found

    def _forget(self, number: int) -> None:
        while self._buckets and self._buckets[0][0] <= number - HOUR_S / _BUCKET_S:
            self._buckets.popleft()
