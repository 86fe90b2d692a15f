"""Idle conversations in host memory, under a cap."""

from __future__ import annotations

from array import array

from hypothesis import given
from hypothesis import strategies as st

from agent.engines.llama.prefix_cache import PrefixCache, Saved


def saved(tokens: list[int], size: int) -> Saved:
    return Saved(array("i", tokens), bytearray(size))


def test_the_longest_shared_prefix_is_found() -> None:
    cache = PrefixCache(100)
    cache.put(saved([1, 2, 3], 10))
    cache.put(saved([1, 2, 9, 9], 10))
    length, entry = cache.longest(array("i", [1, 2, 9, 5, 5]))
    assert (length, entry and list(entry.tokens)) == (3, [1, 2, 9, 9])
    assert cache.longest(array("i", [7])) == (0, None)


def test_the_last_token_of_a_prompt_is_never_taken_from_the_cache() -> None:
    cache = PrefixCache(100)
    cache.put(saved([1, 2, 3], 10))
    assert cache.longest(array("i", [1, 2, 3]))[0] == 2


def test_a_model_that_cannot_roll_back_gets_whole_entries_only() -> None:
    cache = PrefixCache(100)
    cache.put(saved([1, 2, 3], 10))
    assert cache.longest(array("i", [1, 2, 9, 9]), whole=True) == (0, None)
    assert cache.longest(array("i", [1, 2, 3, 4]), whole=True)[0] == 3


def test_a_longer_state_of_the_same_conversation_replaces_the_shorter() -> None:
    cache = PrefixCache(100)
    cache.put(saved([1, 2], 40))
    cache.put(saved([1, 2, 3], 50))
    assert cache.used_bytes == 50


def test_the_least_recently_used_goes_first() -> None:
    cache = PrefixCache(100)
    first, second = saved([1, 1], 40), saved([2, 2], 40)
    cache.put(first)
    cache.put(second)
    cache.touch(first)
    cache.put(saved([3, 3], 40))
    assert cache.longest(array("i", [1, 1, 1]))[0] == 2
    assert cache.longest(array("i", [2, 2, 2]))[0] == 0


@given(st.lists(st.tuples(st.lists(st.integers(0, 2), min_size=1, max_size=6), st.integers(0, 60)), max_size=40))
def test_the_cap_holds(entries: list[tuple[list[int], int]]) -> None:
    cache = PrefixCache(100)
    for tokens, size in entries:
        cache.put(saved(tokens, size))
        assert 0 <= cache.used_bytes <= 100
