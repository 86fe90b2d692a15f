"""Searches by vector, by words and by both, with filters that come before the ranking."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.errors import RequestError
from agent.search import nearest
from agent.search.collection import Collection
from agent.search.query import Query
from agent.search.row import Row
from agent.search.shelf import Shelf
from tests.search.made_up import DIM, MODEL, embed_all, take_all, vector_of

COUNT = 1_300
TOPICS = ("wifi", "power", "screen", "sound")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collection]:
    """1,300 passages in three blocks, a quarter of them of each topic."""
    shelf = Shelf(tmp_path_factory.mktemp("many"))
    made = shelf.create("many", MODEL, ["text"])
    rows = [
        Row(f"id-{n}", f"passage {n} on {TOPICS[n % 4]}", {"topic": TOPICS[n % 4], "number": n}) for n in range(COUNT)
    ]
    take_all(made, rows)
    embed_all(made, 256)
    yield made
    made.close()


def expected(text: str, k: int, numbers: list[int]) -> list[str]:
    """By plain arithmetic in float64."""
    units = []
    for n in numbers:
        vector = np.array(vector_of(f"passage {n} on {TOPICS[n % 4]}"), np.float64)
        units.append(vector / np.linalg.norm(vector))
    scores = np.array(units) @ np.array(vector_of(text), np.float64)
    return [f"id-{numbers[place]}" for place in np.argsort(-scores)[:k]]


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (None, list(range(COUNT))),
        ({}, list(range(COUNT))),
        ({"topic": "power"}, list(range(1, COUNT, 4))),
        ({"topic": ["power", "sound"], "number": {"gte": 600}}, list(range(601, COUNT, 2))),
        ({"number": [3, 700, 1299]}, [3, 700, 1299]),
        ({"number": {"lt": 5}}, [0, 1, 2, 3, 4]),
    ],
)
@pytest.mark.parametrize("direct_rows", [0, 10_000], ids=["through the codes", "one by one"])
def test_the_nearest_of_those_that_the_filter_allows(
    many: Collection,
    monkeypatch: pytest.MonkeyPatch,
    wanted: dict[str, Any] | None,
    numbers: list[int],
    direct_rows: int,
) -> None:
    monkeypatch.setattr(nearest, "DIRECT_ROWS", direct_rows)
    for turn in range(5):
        hits = many.search(Query(vector=vector_of(f"query {turn}"), k=10, filter=wanted))
        assert [hit.id for hit in hits] == expected(f"query {turn}", 10, numbers)
        assert [hit.ranks for hit in hits] == [{"vector": rank} for rank in range(1, len(hits) + 1)]


def test_a_filter_that_nothing_passes_finds_nothing(many: Collection) -> None:
    for mode in ("vector", "text", "hybrid"):
        assert many.search(Query(vector=vector_of("x"), text="passage", filter={"topic": "none"}, mode=mode)) == []


def test_words_with_a_filter_fill_k_from_what_is_allowed(many: Collection) -> None:
    hits = many.search(Query(text="passage on wifi", mode="text", k=10, filter={"topic": "sound"}))
    assert len(hits) == 10
    assert {hit.metadata["topic"] for hit in hits} == {"sound"}
    assert [hit.ranks["text"] for hit in hits] == list(range(1, 11))


def test_a_hit_is_the_whole_passage(many: Collection) -> None:
    (hit,) = many.search(Query(text="1234", mode="text", k=1))
    assert (hit.id, hit.text, hit.metadata) == (
        "id-1234",
        "passage 1234 on screen",
        {"topic": "screen", "number": 1234},
    )


def test_hybrid_puts_what_both_find_first(many: Collection) -> None:
    hits = many.search(Query(vector=vector_of("passage 8 on wifi"), text="77 8", mode="hybrid", k=5))
    assert hits[0].id == "id-8"
    assert hits[0].ranks == {"vector": 1, "text": 1} or hits[0].ranks == {"vector": 1, "text": 2}
    assert "id-77" in [hit.id for hit in hits]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert hits[0].score == pytest.approx(1 / 61 + 1 / (60 + hits[0].ranks["text"]))


def test_hybrid_without_any_word_is_the_search_by_vector(many: Collection) -> None:
    hybrid = many.search(Query(vector=vector_of("x"), text="?!", mode="hybrid", k=7))
    assert [hit.id for hit in hybrid] == [hit.id for hit in many.search(Query(vector=vector_of("x"), k=7))]


def test_equal_passages_come_in_the_order_in_which_they_were_added(collection: Collection) -> None:
    take_all(collection, [Row(f"{9 - n}", "the same") for n in range(9)])
    embed_all(collection)
    assert [hit.id for hit in collection.search(Query(vector=vector_of("the same"), k=3))] == ["9", "8", "7"]


def test_more_than_there_is_gives_what_there_is(many: Collection, collection: Collection) -> None:
    assert collection.search(Query(vector=vector_of("x"))) == []
    assert len(many.search(Query(vector=vector_of("x"), k=1_000))) == 1_000
    assert len(many.search(Query(vector=vector_of("x"), k=1_000, filter={"number": {"lt": 600}}))) == 600


def test_the_length_of_the_query_does_not_matter(many: Collection) -> None:
    long = bytes(memoryview(np.array(vector_of("x"), np.float32) * 1000))
    first, second = many.search(Query(vector=vector_of("x"))), many.search(Query(vector=long))
    assert [hit.id for hit in first] == [hit.id for hit in second]
    assert [hit.score for hit in first] == pytest.approx([hit.score for hit in second], abs=1e-6)
    assert all(-1.000_001 <= hit.score <= 1.000_001 for hit in first)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        (Query(), "query"),
        (Query(text="x", mode="hybrid"), "query"),
        (Query(vector=bytes(4 * DIM), mode="text"), "query"),
        (Query(vector=vector_of("x"), k=0), "k"),
        (Query(vector=vector_of("x"), k=1_001), "k"),
        (Query(vector=vector_of("x"), k=True), "k"),
        (Query(vector=vector_of("x"), mode="magic"), "mode"),  # type: ignore[arg-type]
        (Query(vector=vector_of("x"), filter={"a": {"b": 1}}), "filter"),
        (Query(vector=b"abc"), "vector"),
    ],
)
def test_a_query_that_is_not_complete_says_what_is_missing(collection: Collection, query: Query, param: str) -> None:
    with pytest.raises(RequestError) as caught:
        collection.search(query)
    assert caught.value.param == param


def test_a_search_sees_one_moment_while_another_connection_writes(many: Collection, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    writer = shelf.create("both", MODEL)
    take_all(writer, [Row(str(n), f"text {n}") for n in range(50)])
    embed_all(writer)
    reader = shelf.open("both")
    assert len(reader.search(Query(vector=vector_of("x"), k=50))) == 50
    writer.remove([str(n) for n in range(25)])
    assert len(reader.search(Query(vector=vector_of("x"), k=50))) == 25
    reader.close()
    writer.close()
