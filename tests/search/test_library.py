"""The library: collections are indexed in the background, whatever goes wrong, and opened and closed as needed."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.errors import (
    EdgeAgentError,
    EngineError,
    ModelNotFoundError,
    NotFoundError,
    QueueFullError,
    RequestError,
    ShuttingDownError,
    WorkerCrashedError,
)
from agent.search import background
from agent.search.collection import Collection
from agent.search.database import COLLECTION
from agent.search.library import Library
from agent.search.model_id import ModelChangedError, ModelId, check_same
from agent.search.query import Query
from agent.search.readings import READINGS_LIMIT, Piece, UnknownReadingError
from agent.search.row import Row
from agent.search.shelf import Shelf
from tests.search.made_up import MODEL, rows_of, vector_of


class MadeUpEmbedder:
    """Vectors that follow from the texts. `errors` are raised one by one first; `hostile` texts always fail."""

    def __init__(self) -> None:
        self.model = MODEL
        self.errors: list[EdgeAgentError] = []
        self.hostile: set[str] = set()
        self.zero: set[str] = set()
        self.seen: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def embed(self, collection: str, model: ModelId, texts: Sequence[str]) -> list[array[float]]:
        check_same(collection, model, self.model)
        await self.gate.wait()
        if self.errors:
            raise self.errors.pop(0)
        if self.hostile & set(texts):
            raise EngineError("This text cannot be embedded.")
        self.seen += texts
        return [array("f", [0.0] * model.dim) if text in self.zero else vector_of(text, model.dim) for text in texts]


@pytest.fixture
def embedder() -> MadeUpEmbedder:
    return MadeUpEmbedder()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "LONGEST_PAUSE_S", 0.05)


@asynccontextmanager
async def library_of(folder: Path, embedder: MadeUpEmbedder, **options: Any) -> AsyncIterator[Library]:
    library = Library(Shelf(folder), embedder, **options)
    task = asyncio.create_task(library.run())
    await asyncio.sleep(0)
    try:
        yield library
    finally:
        library.stop()
        await asyncio.wait_for(task, 5)


async def fill(library: Library, texts: Sequence[str], name: str = "facts", **options: Any) -> Piece:
    return await library.take(name, "a.csv", lambda before: iter(rows_of(texts)[before:]), **options)


async def until(library: Library, condition: Callable[[Any], bool], name: str = "facts") -> None:
    """Until `condition` holds of the collection's stats and indexing, or half a minute has passed."""
    give_up = time.monotonic() + 30
    while not condition(found := await library.stats(name)):
        assert time.monotonic() < give_up, found
        await asyncio.sleep(0.005)


async def indexed(library: Library, name: str = "facts") -> None:
    await until(library, lambda found: found[0].waiting == 0, name)


async def best(library: Library, text: str, name: str = "facts") -> str:
    hits = await library.read(name, lambda collection: collection.search(Query(vector=vector_of(text), k=1)))
    return hits[0].text


async def test_what_is_taken_in_gets_its_vectors_by_itself(tmp_path: Path, embedder: MadeUpEmbedder) -> None:
    async with library_of(tmp_path, embedder) as library:
        await library.create("facts", MODEL, ["text"])
        texts = [f"text {n}" for n in range(200)]
        piece = await fill(library, texts)
        assert (piece.taken.added, piece.reading) == (200, None)
        await indexed(library)
        assert await best(library, "text 77") == "text 77"
        await fill(library, [*texts[:-1], "another"])
        await indexed(library)
        assert embedder.seen.count("text 7") == 1
        assert embedder.seen[-1] == "another"


async def test_a_stop_in_the_middle_goes_on_at_the_next_start(tmp_path: Path, embedder: MadeUpEmbedder) -> None:
    async with library_of(tmp_path, embedder) as library:
        await library.create("facts", MODEL)
        embedder.gate.clear()
        await fill(library, ["a", "b"])
    embedder.gate.set()
    async with library_of(tmp_path, embedder) as library:
        await indexed(library)
    assert sorted(embedder.seen) == ["a", "b"]


@pytest.mark.parametrize(
    "error",
    [
        QueueFullError("Full.", retry_after_s=0.01),
        WorkerCrashedError("It died."),
        ModelNotFoundError("Gone."),
        ModelChangedError("Another."),
    ],
    ids=lambda error: error.code,
)
async def test_trouble_with_the_model_is_a_pause(
    tmp_path: Path, embedder: MadeUpEmbedder, error: EdgeAgentError
) -> None:
    async with library_of(tmp_path, embedder) as library:
        await library.create("facts", MODEL)
        embedder.errors = [error] * 3
        await fill(library, ["a", "b"])
        await until(library, lambda found: found[1].activity == "paused" and found[1].error is error)
        await indexed(library)
        assert (await library.stats("facts"))[1].error is None
    assert sorted(embedder.seen) == ["a", "b"]


async def test_one_text_that_cannot_be_embedded_stops_no_other(tmp_path: Path, embedder: MadeUpEmbedder) -> None:
    async with library_of(tmp_path, embedder) as library:
        await library.create("facts", MODEL)
        texts = [f"text {n}" for n in range(150)]
        embedder.hostile, embedder.zero = {"text 3", "text 99"}, {"text 50"}
        await fill(library, texts)
        await until(library, lambda found: found[1].activity == "idle" and found[1].left_out == 3)
        stats, state = await library.stats("facts")
        assert (stats.passages, stats.waiting) == (150, 3)
        assert state.error is not None
        embedder.hostile, embedder.zero = set(), set()
        await fill(library, [*texts, "new"])
        await indexed(library)


async def test_another_model_drops_all_vectors_and_begins_again(tmp_path: Path, embedder: MadeUpEmbedder) -> None:
    async with library_of(tmp_path, embedder) as library:
        await library.create("facts", MODEL)
        await fill(library, ["a", "b"])
        await indexed(library)
        embedder.model = ModelId("tiny", "2", 16)
        assert await library.replace_model("facts", embedder.model) == 2
        await indexed(library)
        hits = await library.read("facts", lambda one: one.search(Query(vector=vector_of("a", 16), k=1)))
        assert hits[0].text == "a"


async def test_a_change_of_the_model_in_mid_indexing_mixes_nothing(tmp_path: Path, embedder: MadeUpEmbedder) -> None:
    async with library_of(tmp_path, embedder) as library:
        await library.create("facts", MODEL)
        embedder.gate.clear()
        await fill(library, [f"text {n}" for n in range(100)])
        await until(library, lambda found: found[1].activity == "indexing")
        embedder.model = ModelId("tiny", "2", MODEL.dim)
        await library.replace_model("facts", embedder.model)
        embedder.gate.set()
        await indexed(library)
        await library.read("facts", lambda collection: collection.check())
    assert len(embedder.seen) == 100


async def test_a_collection_that_is_removed_ends_what_uses_it(tmp_path: Path, embedder: MadeUpEmbedder) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT sum(i) FROM n"

    def slow(collection: Collection) -> None:
        with COLLECTION.translated(collection.path):
            collection._connection.execute(endless)

    async with library_of(tmp_path, embedder) as library:
        await library.create("facts", MODEL)
        embedder.gate.clear()
        await fill(library, ["a"])
        running = [asyncio.create_task(library.read("facts", slow)) for _ in range(3)]
        await asyncio.sleep(0.05)
        began = time.monotonic()
        await library.remove("facts")
        assert time.monotonic() - began < 2
        for one in await asyncio.gather(*running, return_exceptions=True):
            assert isinstance(one, NotFoundError)
        with pytest.raises(NotFoundError):
            await library.stats("facts")
        with pytest.raises(NotFoundError):
            await library.remove("facts")
        assert await library.names() == []
        embedder.gate.set()
        await library.create("facts", MODEL)
        await fill(library, ["b"])
        await indexed(library)
        assert await best(library, "b") == "b"


async def test_idle_collections_are_closed_and_opened_again(tmp_path: Path, embedder: MadeUpEmbedder) -> None:
    async with library_of(tmp_path, embedder, open_limit=2) as library:
        for number in range(6):
            await library.create(f"c{number}", MODEL)
            await fill(library, [f"text {number}"], f"c{number}")
            await indexed(library, f"c{number}")
        await asyncio.sleep(0.05)
        assert len(library._open) <= 2
        for number in range(6):
            assert await best(library, "x", f"c{number}") == f"text {number}"


async def test_a_source_in_pieces_knows_its_ids_and_what_it_lacks(tmp_path: Path, embedder: MadeUpEmbedder) -> None:
    async with library_of(tmp_path, embedder) as library:
        await library.create("facts", MODEL)
        await fill(library, ["a", "b", "c"])
        first = await library.take("facts", "a.csv", lambda before: iter([Row("0", "a")]), more=True)
        other = await library.take("facts", "b.csv", lambda before: iter([Row("9", "z")]), more=True)
        last = await library.take(
            "facts", "a.csv", lambda before: iter([Row(str(before), "b")]), reading=first.reading, sync=True
        )
        assert (last.taken.unchanged, last.taken.changed, last.removed) == (0, 2, 1)
        with pytest.raises(UnknownReadingError):
            await library.take("facts", "a.csv", lambda before: iter([]), reading=first.reading)
        with pytest.raises(RequestError, match="the id '9' was already"):
            await library.take("facts", "b.csv", lambda before: iter([Row("9", "z")]), reading=other.reading)
        with pytest.raises(UnknownReadingError):
            await library.take("facts", "b.csv", lambda before: iter([]), reading=other.reading)


async def test_readings_that_nobody_goes_on_with_make_room(tmp_path: Path, embedder: MadeUpEmbedder) -> None:
    async with library_of(tmp_path, embedder) as library:
        await library.create("facts", MODEL)
        begun = [
            await library.take("facts", f"{n}.csv", lambda before: iter([]), more=True)
            for n in range(READINGS_LIMIT + 1)
        ]
        with pytest.raises(UnknownReadingError):
            await library.take("facts", "0.csv", lambda before: iter([]), reading=begun[0].reading)
        await library.take("facts", "1.csv", lambda before: iter([]), reading=begun[1].reading)


async def test_a_hundred_at_once_on_names_that_are_there_and_not(tmp_path: Path, embedder: MadeUpEmbedder) -> None:
    async with library_of(tmp_path, embedder, open_limit=1) as library:
        for name in ("a", "b"):
            await library.create(name, MODEL)
        found = await asyncio.gather(
            *(library.read(("a", "b", "c")[n % 3], lambda one: one.name) for n in range(99)), return_exceptions=True
        )
        assert [one for one in found if isinstance(one, str)] == ["a", "b"] * 33
        assert all(isinstance(one, str | NotFoundError) for one in found)


async def test_a_stop_leaves_one_file_for_each_collection(tmp_path: Path, embedder: MadeUpEmbedder) -> None:
    async with library_of(tmp_path, embedder) as library:
        await library.create("facts", MODEL)
        await fill(library, ["a", "b"])
        await indexed(library)
    files = await asyncio.to_thread(lambda: [path.name for path in tmp_path.iterdir()])
    assert files == ["facts.sqlite3"]


async def test_after_the_stop_nothing_is_opened(tmp_path: Path, embedder: MadeUpEmbedder) -> None:
    async with library_of(tmp_path, embedder) as library:
        await library.create("facts", MODEL)
    with pytest.raises(ShuttingDownError):
        await library.stats("facts")
