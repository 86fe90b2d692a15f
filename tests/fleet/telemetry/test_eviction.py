from __future__ import annotations

from agent.fleet.telemetry.eviction import Candidate, victims
from agent.fleet.telemetry.sample import Kind

M, E, A = Kind.MEASUREMENT, Kind.EVENT, Kind.ALARM


def candidate(kind: Kind, type: int, last: int, age: int, size: int = 10) -> Candidate:
    return Candidate(kind, type, last, last, age, size)


ALL = [
    candidate(A, 3, 1, 0),
    candidate(A, 3, 2, 8),
    candidate(E, 2, 1, 1),
    candidate(E, 2, 2, 7),
    candidate(M, 1, 1, 3),
    candidate(M, 0, 2, 4),
    candidate(M, 0, 1, 2),
    candidate(M, 0, 3, 5),
    candidate(M, 1, 2, 6),
]
NEWEST = {0: 3, 1: 2, 2: 2, 3: 2}


def test_in_which_order_things_go() -> None:
    order = [(one.kind, one.type, one.last) for one in victims(ALL, NEWEST, need_bytes=10_000)]
    assert order == [
        (M, 0, 1),
        (M, 1, 1),
        (M, 0, 2),
        (E, 2, 1),
        (M, 0, 3),
        (M, 1, 2),
        (E, 2, 2),
        (A, 3, 1),  # and the newest alarm stays, whatever is asked for
    ]


def test_no_more_than_is_needed() -> None:
    assert len(victims(ALL, NEWEST, need_bytes=11)) == 2
    assert len(victims(ALL, NEWEST, need_bytes=0)) == 0
    assert len(victims(ALL, NEWEST, need_bytes=10_000, at_most=3)) == 3
