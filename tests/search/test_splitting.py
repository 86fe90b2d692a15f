from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import RequestError
from agent.search.splitting import Budget, paragraphs, split


def test_blank_lines_part_paragraphs() -> None:
    assert list(paragraphs(["a\n", "b \n", " \t\n", "\n", "c"])) == ["a\nb", "c"]


@pytest.mark.parametrize(
    ("texts", "budget", "expected"),
    [
        (["One.", "Two."], Budget(40, 0), ["One.\n\nTwo."]),
        (["One one.", "Two two."], Budget(12, 0), ["One one.", "Two two."]),
        (["A first. A second. A third."], Budget(20, 0), ["A first. A second.", "A third."]),
        (["A first. A second. A third."], Budget(20, 10), ["A first. A second.", "A second. A third."]),
        (["one two three four"], Budget(9, 0), ["one two", "three", "four"]),
        (["abcdefghij"], Budget(4, 0), ["abcd", "efgh", "ij"]),
        (["  ", ""], Budget(9, 0), []),
        (['He said "no." Then left.'], Budget(15, 0), ['He said "no."', "Then left."]),
        (["3.5 volts are 3500 mV."], Budget(12, 0), ["3.5 volts", "are 3500 mV."]),
    ],
)
def test_texts_are_cut_where_it_hurts_least(texts: list[str], budget: Budget, expected: list[str]) -> None:
    assert list(split(texts, budget)) == expected


words = st.text("abcde.!? é東", min_size=1, max_size=30)


@settings(max_examples=150, deadline=None)
@given(st.lists(words, max_size=12), st.integers(1, 40), st.integers(0, 20))
def test_every_sign_is_kept_in_order_and_no_passage_is_too_long(texts: list[str], limit: int, overlap: int) -> None:
    whole = "".join("".join(texts).split())
    plain = list(split(texts, Budget(limit, 0)))
    assert all(0 < len(passage) <= limit for passage in plain)
    assert "".join("".join(plain).split()) == whole
    overlapping = list(split(texts, Budget(limit, min(overlap, limit // 2))))
    assert all(0 < len(passage) <= limit for passage in overlapping)
    # Each passage begins inside or right after the one before, and adds something.
    position = 0
    for passage in ("".join(passage.split()) for passage in overlapping):
        start = whole.rfind(passage, 0, position + len(passage))
        assert 0 <= start <= position
        position = max(position, start + len(passage))
    assert position == len(whole)


def test_the_measure_may_be_a_tokenizer() -> None:
    counted = Budget(3, 1, measure=lambda text: len(text.split()))
    assert list(split(["a b c d e f g"], counted)) == ["a b c", "c d e", "e f g"]


@pytest.mark.parametrize("budget", [Budget(0, 0), Budget(10, 6), Budget(10, -1)])
def test_a_budget_that_cannot_move_on_is_refused(budget: Budget) -> None:
    with pytest.raises(RequestError):
        list(split(["text"], budget))
