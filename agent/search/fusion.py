"""Several rankings become one."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

CONSTANT: Final = 60

Item = TypeVar("Item", bound=Hashable)


@dataclass(frozen=True)
class Fused(Generic[Item]):
    """An item, its score, and its rank (1 is the best) in each ranking that has it."""

    item: Item
    score: float
    ranks: dict[str, int]


def reciprocal_rank_fusion(
    rankings: Mapping[str, Sequence[Item]], k: int, *, constant: int = CONSTANT
) -> list[Fused[Item]]:
    """The `k` best by the sum of 1 / (constant + rank) over the rankings, equal ones in the order of first sight.

    Only ranks count, so cosines and BM25 need no common scale. G. V. Cormack, C. L. A. Clarke and S. Büttcher,
    "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning Methods", SIGIR 2009; 60 is theirs.
    """
    ranks: dict[Item, dict[str, int]] = {}
    for name, ranking in rankings.items():
        for rank, item in enumerate(ranking, start=1):
            ranks.setdefault(item, {}).setdefault(name, rank)
    fused = [Fused(item, sum(1 / (constant + rank) for rank in found.values()), found) for item, found in ranks.items()]
    return sorted(fused, key=lambda one: -one.score)[:k]
