from __future__ import annotations

import pytest

from agent.search.fusion import reciprocal_rank_fusion


def test_scores_are_the_sums_of_the_reciprocal_ranks() -> None:
    fused = reciprocal_rank_fusion({"vector": ["a", "b"], "text": ["b", "c"]}, 10)
    assert [(one.item, one.ranks) for one in fused] == [
        ("b", {"vector": 2, "text": 1}),
        ("a", {"vector": 1}),
        ("c", {"text": 2}),
    ]
    assert [one.score for one in fused] == pytest.approx([1 / 62 + 1 / 61, 1 / 61, 1 / 62])


@pytest.mark.parametrize(
    ("rankings", "k", "expected"),
    [
        ({}, 3, []),
        ({"a": [], "b": []}, 3, []),
        ({"a": [1, 2, 3]}, 2, [1, 2]),
        ({"a": [1, 2], "b": [2, 1]}, 2, [1, 2]),  # a tie: the order of first sight
        ({"a": [1, 1, 2]}, 5, [1, 2]),  # named twice: its better rank counts, once
    ],
)
def test_rankings_are_joined(rankings: dict[str, list[int]], k: int, expected: list[int]) -> None:
    assert [one.item for one in reciprocal_rank_fusion(rankings, k)] == expected


def test_a_larger_constant_lets_agreement_count_for_more() -> None:
    rankings = {"a": ["top", "both"], "b": ["x", "y", "z", "both"]}
    assert reciprocal_rank_fusion(rankings, 1, constant=0)[0].item == "top"
    assert reciprocal_rank_fusion(rankings, 1)[0].item == "both"
