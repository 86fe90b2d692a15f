"""Where a new prompt goes."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.engines.llama.slots import Placement, Slot, common_prefix, place

A = list(range(100, 200))
B = list(range(500, 600))


def tokens(values: list[int]) -> array[int]:
    return array("i", values)


def slot(index: int, values: list[int], *, busy: bool = False, last_used: int = 0, floor: int = 0) -> Slot:
    return Slot(index, tokens(values), busy, last_used, floor)


@given(st.lists(st.integers(0, 3), max_size=60), st.lists(st.integers(0, 3), max_size=60))
def test_common_prefix_is_what_a_loop_finds(a: list[int], b: list[int]) -> None:
    expected = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        expected += 1
    assert common_prefix(tokens(a), tokens(b)) == expected


@pytest.mark.parametrize(
    ("name", "slots", "prompt", "host", "expected"),
    [
        ("empty slots: the first", [slot(0, []), slot(1, [])], A, 0, (0, 0, None, False)),
        (
            "its own conversation goes on in place",
            [slot(0, []), slot(1, A[:50], last_used=3)],
            A,
            0,
            (1, 50, None, False),
        ),
        ("the last token is computed again", [slot(0, A), slot(1, [])], A, 0, (0, 99, None, False)),
        (
            "another conversation with the same beginning is copied, not overwritten",
            [slot(0, A[:60] + B, last_used=1), slot(1, [])],
            A,
            0,
            (1, 60, 0, False),
        ),
        (
            "a running conversation lends its beginning",
            [slot(0, A[:60] + B, busy=True), slot(1, B, last_used=9)],
            A,
            0,
            (1, 60, 0, False),
        ),
        (
            "nothing shared: the least recently used",
            [slot(0, B, last_used=5), slot(1, B, last_used=2)],
            A,
            0,
            (1, 0, None, False),
        ),
        ("the host knows more", [slot(0, A[:10], last_used=5), slot(1, B, last_used=2)], A, 80, (1, 80, None, True)),
        ("the host knows hardly more", [slot(0, A[:80]), slot(1, B, last_used=2)], A, 83, (0, 80, None, False)),
        ("only slot, other conversation: its shared part stays", [slot(0, A[:60] + B)], A, 0, (0, 60, None, False)),
        ("memory that cannot be rolled back", [slot(0, A[:60] + B, floor=160)], A, 0, (0, 0, None, False)),
    ],
)
def test_placement(
    name: str, slots: list[Slot], prompt: list[int], host: int, expected: tuple[int, int, int | None, bool]
) -> None:
    placement = place(tokens(prompt), slots, host_prefix_tokens=host, reuse=True)
    assert placement is not None
    source = placement.source.index if placement.source else None
    assert (placement.slot.index, placement.reused, source, placement.from_host) == expected, name


def test_every_slot_busy() -> None:
    assert place(tokens(A), [slot(0, A, busy=True)], host_prefix_tokens=0, reuse=True) is None


def test_no_reuse_when_the_request_says_so() -> None:
    chosen = slot(0, A)
    assert place(tokens(A), [chosen], host_prefix_tokens=0, reuse=False) == Placement(chosen, 0)
