"""What goes when the outbox is full. Pure.

Oldest first, and in this order: measurements, events, the newest of each type, alarms. The newest measurements stand
above the events, so that no flood of events can take them; they are a few KB.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from agent.fleet.telemetry.sample import Kind


class Candidate(NamedTuple):
    """A block: `type` is its type's number, `age` grows with each write."""

    kind: Kind
    type: int
    first: int
    last: int
    age: int
    size_bytes: int


def rank(candidate: Candidate, newest: Mapping[int, int]) -> tuple[int, int]:
    """What has the lowest goes first. `newest` is each type's last number."""
    is_newest = newest.get(candidate.type) == candidate.last
    if candidate.kind is Kind.ALARM:
        place = 4
    elif is_newest:
        place = 2 + candidate.kind
    else:
        place = int(candidate.kind)
    return place, candidate.age


def victims(
    candidates: Iterable[Candidate], newest: Mapping[int, int], *, need_bytes: int, at_most: int = 512
) -> Collection[Candidate]:
    """The first ones to go until `need_bytes` are free, not more than `at_most`. The very last block always stays."""
    chosen: list[Candidate] = []
    total = 0

    def counted() -> Iterable[Candidate]:
        nonlocal total
        for candidate in candidates:
            total += 1
            yield candidate

    freed = 0
    for candidate in heapq.nsmallest(at_most, counted(), key=lambda one: rank(one, newest)):
        if freed >= need_bytes or len(chosen) + 1 >= total:
            break
        chosen.append(candidate)
        freed += candidate.size_bytes
    return chosen
