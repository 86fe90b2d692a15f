"""Batches of inputs: nothing lost, little padding, nobody starves."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.engines.onnx.batches import BatchQueue, Item


def drain(queue: BatchQueue) -> list[list[Item]]:
    batches = []
    while queue:
        batches.append(queue.next_batch())
    return batches


@given(st.lists(st.lists(st.integers(1, 300), min_size=1, max_size=40), max_size=8), st.integers(64, 4096))
def test_each_input_is_computed_once_within_the_limit(requests: list[list[int]], batch_tokens: int) -> None:
    queue = BatchQueue(batch_tokens)
    for owner, lengths in enumerate(requests):
        queue.add(owner, lengths)
    batches = drain(queue)
    done = sorted((item.owner, item.index, item.tokens) for batch in batches for item in batch)
    assert done == [(o, i, n) for o, lengths in enumerate(requests) for i, n in enumerate(lengths)]
    for batch in batches:
        assert batch
        assert len(batch) == 1 or len(batch) * max(item.tokens for item in batch) <= batch_tokens
    assert queue.next_batch() == []


def test_one_request_alone_is_one_batch() -> None:
    queue = BatchQueue(2048)
    queue.add(7, [12])
    assert queue.next_batch() == [Item(12, 7, 0)]


def test_short_requests_of_many_clients_share_a_batch() -> None:
    queue = BatchQueue(2048)
    for owner in range(32):
        queue.add(owner, [10 + owner % 6])
    assert len(drain(queue)) == 1


def test_a_small_request_does_not_wait_for_the_rest_of_a_large_one() -> None:
    queue = BatchQueue(512)
    queue.add(0, [200] * 1000)
    for _ in range(5):
        queue.next_batch()
    queue.add(1, [5])
    assert any(item.owner == 1 for _ in range(2) for item in queue.next_batch())


def test_a_large_request_goes_on_beside_a_stream_of_small_ones() -> None:
    queue = BatchQueue(512)
    queue.add(0, [200] * 10)
    finished_at = None
    for turn in range(1, 200):
        queue.add(turn, [5])
        queue.next_batch()
        if all(item.owner != 0 for item in queue._items):
            finished_at = turn
            break
    assert finished_at is not None


def test_what_is_dropped_is_not_computed() -> None:
    queue = BatchQueue(512)
    queue.add(0, [5, 6])
    queue.add(1, [5])
    queue.drop(0)
    queue.drop(99)
    assert drain(queue) == [[Item(5, 1, 0)]]


@pytest.mark.parametrize("batch_tokens", [1024, 4096])
def test_padding_stays_small_over_varied_lengths(batch_tokens: int) -> None:
    draw = random.Random(1)
    lengths = [draw.randint(5, 200) for _ in range(2000)]
    queue = BatchQueue(batch_tokens)
    queue.add(0, lengths)
    padded = sum(len(batch) * max(item.tokens for item in batch) for batch in drain(queue))
    assert padded <= 1.06 * sum(lengths)
