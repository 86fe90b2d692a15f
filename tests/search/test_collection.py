"""What a collection keeps, replaces and removes; that it is never in two minds."""

from __future__ import annotations

import random
import sqlite3
from dataclasses import replace

import numpy as np
import pytest

from agent.errors import EngineError, RequestError, StoreError
from agent.search.codes import BLOCK_ROWS
from agent.search.collection import Collection
from agent.search.model_id import ModelChangedError, ModelId
from agent.search.query import Query
from agent.search.row import Row
from agent.search.shelf import Shelf
from tests.search.made_up import DIM, MODEL, embed_all, rows_of, take_all, vector_of

TEXTS = ["the red door", "a blue window", "the green roof", "a grey wall"]


def nearest_ids(collection: Collection, text: str, k: int = 1) -> list[str]:
    return [hit.id for hit in collection.search(Query(vector=vector_of(text), k=k))]


def test_passages_wait_for_their_vectors_and_are_found_by_words_meanwhile(collection: Collection) -> None:
    take_all(collection, rows_of(TEXTS))
    assert (collection.stats().passages, collection.stats().waiting) == (4, 4)
    assert nearest_ids(collection, TEXTS[0]) == []
    assert [hit.id for hit in collection.search(Query(text="green", mode="text"))] == ["2"]
    assert sorted(embed_all(collection)) == sorted(TEXTS)
    assert collection.stats().waiting == 0
    assert [nearest_ids(collection, text) for text in TEXTS] == [["0"], ["1"], ["2"], ["3"]]


def test_the_same_rows_again_are_not_embedded_again(collection: Collection) -> None:
    take_all(collection, rows_of(TEXTS))
    embed_all(collection)
    intake = collection.intake("a.csv")
    assert collection.take(intake, iter(rows_of(TEXTS))) == 4
    assert (intake.taken.unchanged, intake.taken.rows) == (4, 4)
    assert embed_all(collection) == []


def test_only_a_changed_text_is_embedded_again(collection: Collection) -> None:
    take_all(collection, rows_of(TEXTS))
    embed_all(collection)
    rows = rows_of([*TEXTS[:2], "the white roof", TEXTS[3]])
    rows[3] = replace(rows[3], metadata={"other": True})
    intake = collection.intake("a.csv")
    collection.take(intake, iter(rows))
    assert (intake.taken.added, intake.taken.changed, intake.taken.unchanged) == (0, 2, 2)
    assert nearest_ids(collection, TEXTS[2]) != ["2"]  # the vector went with its text
    assert embed_all(collection) == ["the white roof"]
    assert nearest_ids(collection, "the white roof") == ["2"]
    assert [hit.id for hit in collection.search(Query(text="green", mode="text"))] == []
    assert [hit.id for hit in collection.search(Query(text="white", mode="text"))] == ["2"]
    assert collection.search(Query(vector=vector_of(TEXTS[3]), k=1))[0].metadata == {"other": True}


def test_sync_removes_what_this_source_no_longer_has_and_nothing_else(collection: Collection) -> None:
    take_all(collection, rows_of(TEXTS), "a.csv")
    take_all(collection, [Row("other", "from another file")], "b.csv")
    embed_all(collection)
    assert take_all(collection, rows_of(TEXTS[:2]), "a.csv", sync=False) == 0
    assert collection.stats().passages == 5
    assert take_all(collection, rows_of(TEXTS[:2]), "a.csv", sync=True) == 2
    assert stale(collection) == 0
    assert [passage.id for passage in collection.passages()] == ["0", "1", "other"]
    assert nearest_ids(collection, TEXTS[3], 10) == nearest_ids(collection, TEXTS[3], 3)
    assert collection.stats().sources == ("a.csv", "b.csv")


def test_a_row_without_text_is_counted_and_left_out(collection: Collection) -> None:
    intake = collection.intake("a.csv")
    collection.take(intake, iter([Row("1", "  \n"), Row("2", "text"), Row("3", "")]))
    assert (intake.taken.blank, intake.taken.added) == (2, 1)
    assert [passage.id for passage in collection.passages()] == ["2"]


def test_an_id_that_comes_twice_in_one_reading_is_refused_with_both_lines(collection: Collection) -> None:
    rows = [Row("a", "one", line=2), Row("b", "two", line=3), Row("a", "three", line=9)]
    with pytest.raises(RequestError, match=r"a\.csv: line 9: the id 'a' was already at line 2"):
        take_all(collection, rows)
    assert collection.stats().passages == 0  # the chunk it was in is not kept


def test_removing_by_id_and_by_filter(collection: Collection) -> None:
    take_all(collection, rows_of(TEXTS))
    embed_all(collection)
    assert collection.remove(["1", "unheard of", "1"]) == 1
    assert collection.remove_where({"number": {"gte": 3}}) == 1
    assert [passage.id for passage in collection.passages()] == ["0", "2"]
    assert sorted(nearest_ids(collection, "anything", 10)) == ["0", "2"]
    with pytest.raises(RequestError, match="every passage"):
        collection.remove_where({})


def test_numbers_of_removed_passages_are_used_again(collection: Collection) -> None:
    take_all(collection, rows_of([f"text {n}" for n in range(2 * BLOCK_ROWS)]))
    embed_all(collection, 64)
    assert blocks(collection) == 3  # numbers begin at 1
    collection.remove([str(n) for n in range(0, 2 * BLOCK_ROWS, 2)])
    take_all(collection, [Row(f"new {n}", f"new text {n}") for n in range(BLOCK_ROWS)], "b.csv")
    embed_all(collection, 64)
    assert blocks(collection) == 3
    assert nearest_ids(collection, "new text 7") == ["new 7"]
    collection.remove_where({"even": False})
    collection.remove([f"new {n}" for n in range(BLOCK_ROWS)])
    assert (blocks(collection), collection.stats().passages) == (0, 0)


def blocks(collection: Collection) -> int:
    with sqlite3.connect(collection.path) as connection:
        return int(connection.execute("SELECT count(*) FROM codes").fetchone()[0])


def stale(collection: Collection) -> int:
    """How many rows have codes that are not what their vectors say."""
    with sqlite3.connect(collection.path) as connection:
        return int(connection.execute("SELECT count(*) FROM stale").fetchone()[0])


def test_any_order_of_changes_leaves_what_a_full_comparison_finds(collection: Collection) -> None:
    """1,500 random changes over three blocks; after each few, the search is compared with plain arithmetic."""
    chance = random.Random(11)
    kept: dict[str, str] = {}
    for turn in range(60):
        chosen = [str(chance.randrange(1400)) for _ in range(25)]
        if turn % 3 == 2:
            collection.remove(chosen)
            for one in chosen:
                kept.pop(one, None)
        else:
            rows = {one: f"text {chance.randrange(900)}" for one in chosen}
            take_all(collection, [Row(one, text) for one, text in rows.items()])
            kept.update(rows)
        if turn % 5 == 4:
            collection.vacuum()
        embed_all(collection, chance.choice([1, 7, 64]))
        query = f"query {turn}"
        hits = collection.search(Query(vector=vector_of(query), k=20))
        unit = np.array([np.array(vector_of(text)) / np.linalg.norm(vector_of(text)) for text in kept.values()])
        assert stale(collection) == 0
        asked = np.array(vector_of(query)) / np.linalg.norm(vector_of(query))
        best = np.sort(unit @ asked)[::-1][:20]
        assert np.allclose([hit.score for hit in hits], best, atol=1e-6)
        assert all(kept[hit.id] == hit.text for hit in hits)
    assert collection.stats().passages == len(kept)
    collection.check()


def test_another_model_is_refused_with_both_names(collection: Collection) -> None:
    collection.require_model(MODEL)
    for other in (ModelId("big", "1", DIM), ModelId("tiny", "2", DIM), ModelId("tiny", "1", DIM + 1)):
        with pytest.raises(ModelChangedError, match=r"facts holds vectors of tiny 1 \(24 dimensions\)") as caught:
            collection.require_model(other)
        assert str(other) in caught.value.message
        assert caught.value.status == 409


def test_a_new_model_drops_all_vectors_at_once_and_keeps_the_texts(collection: Collection) -> None:
    take_all(collection, rows_of(TEXTS))
    embed_all(collection)
    assert collection.replace_model(ModelId("big", "3", 8)) == 4
    assert nearest_ids_of(collection, 8) == []
    run = collection.waiting(10)
    assert collection.store(run[:2], [vector_of(one.text, 8) for one in run[:2]]) == 2
    assert collection.stats().waiting == 2
    assert len(nearest_ids_of(collection, 8)) == 2
    with pytest.raises(EngineError, match="24 dimensions, the collection has 8"):
        collection.search(Query(vector=vector_of("x")))


def nearest_ids_of(collection: Collection, dim: int) -> list[str]:
    return [hit.id for hit in collection.search(Query(vector=vector_of("x", dim)))]


def test_vectors_that_were_made_before_the_model_changed_are_dropped(collection: Collection) -> None:
    take_all(collection, rows_of(TEXTS))
    batch = collection.waiting(10)
    collection.replace_model(ModelId("tiny", "2", DIM))
    assert collection.store(batch, [vector_of(one.text) for one in batch]) == 0
    assert collection.stats().waiting == 4


def test_a_vector_of_a_text_that_changed_meanwhile_is_dropped(collection: Collection) -> None:
    take_all(collection, rows_of(TEXTS))
    batch = collection.waiting(10)
    take_all(collection, [Row("1", "another text"), Row("9", "new")])
    collection.remove(["3"])
    assert collection.store(batch, [vector_of(one.text) for one in batch]) == 2
    assert sorted(embed_all(collection)) == ["another text", "new"]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO vectors VALUES (1, 2, zeroblob(96))",  # another generation
        "INSERT INTO vectors VALUES (1, 1, zeroblob(95))",
        "INSERT INTO vectors VALUES (1, 1, 'text')",
        "INSERT INTO vectors VALUES (99, 1, zeroblob(96))",  # no passage
        "UPDATE vectors SET vector = zeroblob(96)",
        "UPDATE collection SET model = 'other'",
        "UPDATE collection SET dim = 8",
        "DELETE FROM collection",
        "INSERT INTO collection SELECT 2, model, model_version, dim, generation, text_columns FROM collection",
        "UPDATE passages SET id = 77 WHERE id = 1",
    ],
)
def test_the_schema_itself_refuses_to_mix_vectors(collection: Collection, statement: str) -> None:
    take_all(collection, rows_of(TEXTS))
    embed_all(collection)
    with sqlite3.connect(collection.path) as connection:
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute(statement)


def test_another_program_s_changes_do_not_make_a_search_wrong(collection: Collection) -> None:
    """Removing rows with sqlite3 alone leaves codes behind; the triggers say which."""
    take_all(collection, rows_of([f"text {n}" for n in range(40)]))
    embed_all(collection)
    with sqlite3.connect(collection.path) as connection:
        connection.execute("DELETE FROM passages WHERE id % 2 = 0")
        copied = connection.execute("SELECT vector FROM vectors WHERE id = 1").fetchone()[0]
        connection.execute("DELETE FROM vectors WHERE id = 3")
        connection.execute("INSERT INTO vectors VALUES (3, 1, ?)", (copied,))
    hits = collection.search(Query(vector=vector_of("text 0"), k=40))
    assert len(hits) == 20
    assert [hit.id for hit in hits[:2]] == ["0", "2"]
    assert hits[0].score == pytest.approx(hits[1].score)
    assert len(collection.search(Query(vector=vector_of("text 0"), k=5, filter={"even": True}))) == 5
    collection.remove([])  # any write settles it
    assert stale(collection) == 0
    assert [hit.id for hit in collection.search(Query(vector=vector_of("text 0"), k=40))] == [hit.id for hit in hits]


def test_rows_that_another_program_removed_do_not_crowd_out_the_others(collection: Collection) -> None:
    take_all(collection, [Row(str(n), "the same" if n < 30 else f"text {n}") for n in range(60)])
    embed_all(collection)
    with sqlite3.connect(collection.path) as connection:
        connection.execute("DELETE FROM passages WHERE text = 'the same'")
    assert stale(collection) == 30
    assert len(collection.search(Query(vector=vector_of("the same"), k=5))) == 5


def test_passages_are_listed_in_pages(collection: Collection) -> None:
    take_all(collection, rows_of([f"text {n}" for n in range(25)]), "a.csv")
    seen: list[str] = []
    after: str | None = None
    while page := collection.passages(after=after, limit=10):
        seen += [passage.id for passage in page]
        after = seen[-1]
    assert seen == sorted(str(n) for n in range(25))
    first = collection.passages(limit=1)[0]
    assert (first.text, first.metadata, first.source) == ("text 0", {"number": 0, "even": True}, "a.csv")
    with pytest.raises(RequestError, match="limit"):
        collection.passages(limit=0)


def test_vacuum_gives_space_back(collection: Collection, shelf: Shelf) -> None:
    take_all(collection, rows_of([f"text {n} " * 20 for n in range(3000)]))
    embed_all(collection, 256)
    collection.remove_where({"number": {"gte": 10}})
    before = collection.stats().bytes
    collection.vacuum()
    assert collection.stats().bytes < before / 2
    assert len(collection.search(Query(vector=vector_of("x"), k=50))) == 10


def test_a_collection_remembers_itself(collection: Collection, shelf: Shelf) -> None:
    take_all(collection, rows_of(TEXTS))
    embed_all(collection)
    again = shelf.open("facts")
    assert (again.model, again.text_columns, again.name) == (MODEL, ("text",), "facts")
    assert again.stats() == collection.stats()
    again.close()


@pytest.mark.parametrize("vectors", [1, 3], ids=["too few", "too many"])
def test_a_number_of_vectors_that_does_not_fit_the_batch_stores_none(collection: Collection, vectors: int) -> None:
    take_all(collection, rows_of(TEXTS[:2]))
    with pytest.raises(ValueError):
        collection.store(collection.waiting(2), [vector_of("x")] * vectors)
    assert collection.stats().waiting == 2


def test_one_bad_vector_keeps_the_batch_waiting(collection: Collection) -> None:
    take_all(collection, rows_of(TEXTS[:2]))
    with pytest.raises(EngineError, match="'1' is zero"):
        collection.store(collection.waiting(2), [vector_of("x"), bytes(4 * DIM)])
    assert collection.stats().waiting == 2


def test_a_database_of_a_newer_version_is_left_alone(collection: Collection, shelf: Shelf) -> None:
    with sqlite3.connect(collection.path) as connection:
        connection.execute("INSERT INTO migrations (name) VALUES ('m999_from_the_future')")
    with pytest.raises(StoreError, match=r"newer version of edge-agent .*m999"):
        shelf.open("facts")


def test_reading_again_and_again_leaves_no_statements_behind(collection: Collection) -> None:
    """A connection keeps what it prepared for each new text: 128 of them, some kilobytes each."""
    seen: list[set[str]] = []
    for _ in range(5):
        said: set[str] = set()
        collection._connection.set_trace_callback(lambda sql, said=said: said.add(sql.split("(")[0]))
        intake, other = collection.intake("a.csv"), collection.intake("b.csv")
        collection.take(intake, iter(rows_of(TEXTS)))
        collection.take(other, iter([Row("other", "from another file")]))
        collection.remove_absent(intake)
        collection.forget(intake)
        collection.forget(other)
        seen.append(said)
    collection._connection.set_trace_callback(None)
    assert any("temp.met_2" in sql for sql in seen[0])  # two at once
    assert set.union(*seen[1:]) == seen[1]
