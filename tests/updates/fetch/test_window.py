"""Blocks on their way: asked for once while the line brings something, again when they are lost."""

from __future__ import annotations

from agent.updates.fetch.window import FIRST, LEAST, MOST, OVERTAKEN, Window


def full(window: Window, now: float, first: int = 0) -> list[int]:
    numbers = list(range(first, first + window.room))
    for number in numbers:
        window.asked(number, now)
    return numbers


def grown(round_trip_s: float = 0.1) -> tuple[Window, float, int]:
    """A window at its largest, with nothing on its way."""
    window, now, number = Window(), 0.0, 0
    while window.size < MOST:
        numbers = full(window, now, number)
        now, number = now + round_trip_s, number + len(numbers)
        assert all([window.arrived(one, now) for one in numbers])
    return window, now, number


def test_it_begins_small_and_doubles() -> None:
    window = Window()
    assert full(window, 0.0) == list(range(FIRST))
    assert window.room == 0
    for number in range(FIRST):
        window.arrived(number, 0.1)
    assert window.room == window.size == 2 * FIRST


def test_it_grows_to_its_most() -> None:
    window, _, _ = grown()
    assert window.room == MOST


def test_what_nobody_waits_for_changes_nothing() -> None:
    window, now, _ = grown()
    assert not window.arrived(10**6, now)
    assert (window.size, window.away) == (MOST, 0)


def test_a_block_that_many_overtook_is_lost() -> None:
    window, now, first = grown()
    numbers = full(window, now, first)
    for number in numbers[1:OVERTAKEN]:
        window.arrived(number, now + 0.2)
    assert window.lost(now + 0.3) == []
    window.arrived(numbers[OVERTAKEN], now + 0.2)
    assert window.lost(now + 0.2) == []  # it may still come
    assert window.lost(now + 0.3) == numbers[:1]
    assert window.lost(now + 0.3) == []


def test_blocks_that_overtake_each_other_a_little_are_not_lost() -> None:
    window, now, first = grown()
    numbers = full(window, now, first)
    for at in range(0, len(numbers), 8):
        for number in reversed(numbers[at : at + 8]):
            window.arrived(number, now + 0.2)
            assert window.lost(now + 0.2) == []
    assert window.away == 0


def test_after_silence_all_are_lost_and_the_next_silence_is_longer() -> None:
    window, now, first = grown()
    numbers = full(window, now, first)
    waits = []
    for _ in range(4):
        waits.append(window.wait_s(now))
        now += waits[-1]
        assert sorted(window.lost(now)) == numbers
        for number in numbers:
            window.asked(number, now, again=True)
    assert waits == sorted(waits)
    assert waits[-1] >= 7 * waits[0]


def test_a_slow_line_that_brings_something_is_not_asked_twice() -> None:
    window, now, first = grown()
    for number in full(window, now, first):  # one block in 0.2 s, where all came in 0.1 s before
        now += 0.2
        assert window.lost(now) == []
        assert window.arrived(number, now)


def test_losses_shrink_it_once_in_a_round_trip() -> None:
    window, now, first = grown()
    numbers = full(window, now, first)
    for number in numbers[2 : 2 + OVERTAKEN]:
        window.arrived(number, now + 0.2)
    assert len(window.lost(now + 0.3)) == 2
    size = window.size
    assert LEAST <= size < MOST
    window.arrived(numbers[40], now + 0.31)
    assert window.lost(now + 0.31)
    assert window.size in (size, size + 1)


def test_it_never_shrinks_to_nothing() -> None:
    window, now = Window(), 0.0
    for _ in range(50):
        full(window, now)
        now += 100.0
        window.lost(now)
    assert window.room == LEAST
