"""Batches, the steps of indexing, and the loop that drives them beside an event loop."""

from __future__ import annotations

import asyncio
import sqlite3
from array import array
from collections.abc import Sequence
from pathlib import Path

import pytest

from agent.errors import EngineError, RequestError
from agent.search.collection import Collection
from agent.search.indexing import Progress, batches, embed_waiting, index, steps
from agent.search.model_id import ModelChangedError, ModelId
from agent.search.pending import Pending
from agent.search.query import Query
from agent.search.row import Row
from agent.search.rows import Source, read
from agent.search.shelf import Shelf
from agent.search.thread import CollectionThread
from tests.search.made_up import DIM, MODEL, embed_all, rows_of, take_all, vector_of


async def embed(texts: Sequence[str]) -> list[array[float]]:
    await asyncio.sleep(0)
    return [vector_of(text) for text in texts]


def test_batches_are_of_texts_about_as_long_as_each_other() -> None:
    window = [Pending(n, str(n), "x" * length, 1) for n, length in enumerate([3, 50, 4, 60, 5])]
    assert [[len(one.text) for one in batch] for batch in batches(window, 2)] == [[60, 50], [5, 4], [3]]
    assert [one.number for one in batches([Pending(n, "", "same", 1) for n in range(4)], 9)[0]] == [0, 1, 2, 3]
    assert batches([], 2) == []


def test_the_steps_end_when_nothing_waits_and_go_on_where_they_stopped(collection: Collection) -> None:
    take_all(collection, rows_of([f"text {n}" for n in range(10)]))
    run = steps(collection, 4)
    first = next(run)
    run.send([vector_of(text) for text in first])
    run.close()  # as at a kill: the second batch was given out, and its vectors never came
    left = embed_all(collection, 4)
    assert sorted(first + left) == sorted(f"text {n}" for n in range(10))


def test_a_model_that_gives_too_few_vectors_is_an_error(collection: Collection) -> None:
    take_all(collection, rows_of(["a", "b"]))
    run = steps(collection)
    next(run)
    with pytest.raises(EngineError, match="1 vectors for 2 texts"):
        run.send([vector_of("a")])


async def test_a_file_becomes_a_collection_with_progress(shelf: Shelf, tmp_path: Path) -> None:
    path = tmp_path / "faq.csv"
    path.write_text("id,text\n" + "".join(f"{n},answer {n}\n" for n in range(1_200)))
    thread = CollectionThread(shelf.create("facts", MODEL, ["text"]))
    seen: list[Progress] = []
    source = Source(path=path, text=("text",), key="id")
    report = await index(
        thread, read(source), embed, source=source.name, model=MODEL, batch_rows=100, on_progress=seen.append
    )
    assert (report.taken.added, report.removed, report.embedded) == (1_200, 0, 1_200)
    assert [progress.rows for progress in seen] == sorted(progress.rows for progress in seen)
    assert seen[-1] == Progress(1_200, 1_200, 1_200)
    assert len({progress.embedded for progress in seen}) > 10
    path.write_text("id,text\n" + "".join(f"{n},answer {n}\n" for n in range(2, 1_200)) + "new,one more\n")
    report = await index(thread, read(source), embed, source=source.name, model=MODEL, sync=True)
    assert (report.taken.added, report.taken.unchanged, report.removed, report.embedded) == (1, 1_198, 2, 1)
    hits = await thread.run(thread.collection.search, Query(vector=vector_of("one more"), k=1))
    assert hits[0].id == "new"
    await thread.close()


async def test_another_model_is_refused_before_anything_is_read(shelf: Shelf) -> None:
    thread = CollectionThread(shelf.create("facts", MODEL))

    def never() -> Row:
        raise AssertionError("read")

    rows = iter(never, None)
    with pytest.raises(ModelChangedError):
        await index(thread, rows, embed, source="a", model=ModelId("tiny", "2", DIM))  # type: ignore[arg-type]
    await thread.close()


async def test_a_broken_row_keeps_the_chunks_before_it_and_the_next_run_completes_it(
    shelf: Shelf, tmp_path: Path
) -> None:
    path = tmp_path / "faq.csv"
    lines = [f"{n},answer {n}" for n in range(1_200)]
    path.write_text("id,text\n" + "\n".join([*lines[:1_100], '1100,"broken', *lines[1_101:]]) + "\n")
    source = Source(path=path, text=("text",), key="id")
    thread = CollectionThread(shelf.create("facts", MODEL))
    with pytest.raises(RequestError, match="line 1102"):
        await index(thread, read(source), embed, source=source.name, model=MODEL, sync=True)
    assert thread.collection.stats().passages == 1_000
    path.write_text("id,text\n" + "\n".join(lines) + "\n")
    report = await index(thread, read(source), embed, source=source.name, model=MODEL)
    assert (report.taken.unchanged, report.taken.added, report.embedded) == (1_000, 200, 1_200)
    await thread.close()


async def test_cancelling_loses_nothing(shelf: Shelf) -> None:
    thread = CollectionThread(shelf.create("facts", MODEL))
    calls: list[int] = []
    reached = asyncio.Event()

    async def slow(texts: Sequence[str]) -> list[array[float]]:
        calls.append(len(texts))
        if len(calls) == 3:
            reached.set()
            await asyncio.Event().wait()
        return await embed(texts)

    rows = iter(rows_of([f"text {n}" for n in range(100)]))
    task = asyncio.create_task(index(thread, rows, slow, source="a", model=MODEL, batch_rows=10))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await thread.run(thread.collection.count_waiting) == 80
    assert await embed_waiting(thread, embed, batch_rows=10) == 80
    await thread.close()


async def test_the_event_loop_goes_on_while_the_database_is_busy(shelf: Shelf) -> None:
    made = shelf.create("facts", MODEL)
    take_all(made, rows_of(["one"]))
    thread = CollectionThread(made)
    other = sqlite3.connect(made.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while turns < 20:
            turns += 1
            await asyncio.sleep(0)
        other.execute("ROLLBACK")

    removed, _ = await asyncio.gather(thread.run(made.remove, ["0"]), turn())
    assert (removed, turns) == (1, 20)
    other.close()
    await thread.close()
