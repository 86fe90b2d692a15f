"""Which inputs are computed together: those of all requests, by length, and no request waits for another's hundreds.

Pure: values in, a batch out. The caller removes nothing itself.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

SPARE_TOKENS: Final = 8
"""Padding of a row that costs less than a run of its own would."""
SPARE_SHARE: Final = 0.2
"""Padding of a row beyond that, as a share of the longest."""


@dataclass(order=True, frozen=True)
class Item:
    """One input: its length in tokens, whose it is (`owner`, ascending by arrival), and which of them."""

    tokens: int
    owner: int
    index: int


@dataclass
class _Owner:
    waiting: int
    computed_tokens: int


@dataclass
class BatchQueue:
    """Inputs that wait, always sorted by length. `batch_tokens` bounds rows times the longest of a batch."""

    batch_tokens: int
    _items: list[Item] = field(default_factory=list)
    _owners: dict[int, _Owner] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._items)

    def add(self, owner: int, lengths: Sequence[int]) -> None:
        """The inputs of a new request. It starts level with whoever has had least: it neither waits nor rules."""
        least = min((one.computed_tokens for one in self._owners.values()), default=0)
        self._owners[owner] = _Owner(len(lengths), least)
        self._items += [Item(tokens, owner, index) for index, tokens in enumerate(lengths)]
        self._items.sort()

    def drop(self, owner: int) -> None:
        """The request was cancelled or has failed."""
        if self._owners.pop(owner, None) is not None:
            self._items = [item for item in self._items if item.owner != owner]

    def next_batch(self) -> list[Item]:
        """Take the next inputs to compute: around the longest of the request that has had least, and all near it."""
        if not self._items:
            return []
        turn = min(self._owners, key=lambda owner: (self._owners[owner].computed_tokens, owner))
        anchor = next(item for item in reversed(self._items) if item.owner == turn)
        end = bisect_right(self._items, anchor)
        start = end - 1
        shortest = anchor.tokens - max(SPARE_TOKENS, int(SPARE_SHARE * anchor.tokens))
        room = max(1, self.batch_tokens // max(1, anchor.tokens))
        while start > 0 and self._items[start - 1].tokens >= shortest and end - start < room:
            start -= 1
        longest = anchor.tokens
        # Longer ones of other requests may come along while the rows that are there still fit.
        while end < len(self._items):
            longest = self._items[end].tokens
            too_long = self._items[start].tokens < longest - max(SPARE_TOKENS, int(SPARE_SHARE * longest))
            if too_long or (end - start + 1) * longest > self.batch_tokens:
                break
            end += 1
        batch = self._items[start:end]
        del self._items[start:end]
        for item in batch:
            owner = self._owners[item.owner]
            owner.computed_tokens += item.tokens
            owner.waiting -= 1
            if not owner.waiting:
                del self._owners[item.owner]
        return batch
