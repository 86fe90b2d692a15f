"""Giving passages their vectors: which texts go to the model together, and in what order.

The steps are a generator: it yields texts and is sent their vectors. So the same steps run in a thread beside an event
loop, in a test, or in a benchmark, and the model stays outside. Each batch is one transaction: after a kill at any
moment at most the batch that was under way is embedded again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from agent.errors import EngineError
from agent.search.collection import Collection
from agent.search.intake import Taken
from agent.search.model_id import ModelId
from agent.search.pending import Pending
from agent.search.row import Row
from agent.search.thread import CollectionThread
from agent.search.vectors import Floats

BATCH_ROWS: Final = 64
WINDOW_BATCHES: Final = 16

Vectors: TypeAlias = "Sequence[Floats | None]"
"""One float32 [dim] for each text; None for a text that the model cannot embed, which goes on waiting."""

Embed = Callable[[Sequence[str]], Awaitable[Vectors]]
"""Texts in, their vectors out, in the same order."""


@dataclass(frozen=True)
class Progress:
    """`embedded` of `to_embed` passages have their vectors; `to_embed` grows while rows are still being read."""

    rows: int
    embedded: int
    to_embed: int


@dataclass(frozen=True)
class IndexReport:
    taken: Taken
    removed: int
    embedded: int


def batches(window: Sequence[Pending], batch_rows: int) -> list[list[Pending]]:
    """The window in batches of texts about as long as each other, longest first.

    Padding is what a mixed batch wastes; with the longest first, memory is at its peak at the start and not at the end.
    """
    ordered = sorted(window, key=lambda one: (-len(one.text), one.number))
    return [ordered[start : start + batch_rows] for start in range(0, len(ordered), batch_rows)]


def steps(
    collection: Collection, batch_rows: int = BATCH_ROWS, window_batches: int = WINDOW_BATCHES
) -> Generator[list[str], Vectors, None]:
    """Yields the texts of one batch after the other; expects to be sent their vectors. Ends when nothing waits but
    what could not be embedded.

    Raises `EngineError` where the vectors are not as many as the texts, or are none.
    """
    left_out: set[int] = set()
    while window := collection.waiting(batch_rows * window_batches, left_out):
        for batch in batches(window, batch_rows):
            vectors = yield [one.text for one in batch]
            if len(vectors) != len(batch):
                raise EngineError(f"The model gave {len(vectors)} vectors for {len(batch)} texts.")
            pairs = [(one, vector) for one, vector in zip(batch, vectors, strict=True) if vector is not None]
            left_out.update({one.number for one in batch} - {one.number for one, _ in pairs})
            collection.store([one for one, _ in pairs], [vector for _, vector in pairs])


async def index(
    thread: CollectionThread,
    rows: Iterator[Row],
    embed: Embed,
    *,
    source: str,
    model: ModelId,
    sync: bool = False,
    batch_rows: int = BATCH_ROWS,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> IndexReport:
    """Take the rows of `source` in, then embed what waits; with `sync`, passages that the source lacks now are removed.

    All that touches the database or the rows' file runs in the collection's thread; the event loop is never blocked.
    Cancelling it between two batches loses nothing. Raises `ModelChangedError` before anything is read where the
    collection has vectors of another model.
    """
    collection = thread.collection
    await thread.run(collection.require_model, model)
    intake = await thread.run(collection.intake, source)
    waiting = 0
    while await thread.run(collection.take, intake, rows):
        waiting = await thread.run(collection.count_waiting)
        on_progress(Progress(intake.taken.rows, 0, waiting))
    removed = await thread.run(collection.remove_absent, intake) if sync else 0
    embedded = await embed_waiting(
        thread,
        embed,
        batch_rows=batch_rows,
        on_progress=lambda done, total: on_progress(Progress(intake.taken.rows, done, total)),
    )
    await thread.run(collection.forget, intake)
    return IndexReport(intake.taken, removed, embedded)


async def embed_waiting(
    thread: CollectionThread,
    embed: Embed,
    *,
    batch_rows: int = BATCH_ROWS,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Embed what waits: after a kill, or after `Collection.replace_model`. Returns how many texts were embedded."""
    total = await thread.run(thread.collection.count_waiting)
    run = steps(thread.collection, batch_rows)
    done = 0
    texts = await thread.run(_advance, run, None)
    while texts is not None:
        vectors = await embed(texts)
        done += len(texts)
        texts = await thread.run(_advance, run, vectors)
        on_progress(done, max(total, done))
    return done


def _advance(run: Generator[list[str], Vectors, None], vectors: Vectors | None) -> list[str] | None:
    """The next batch, or None at the end: `StopIteration` cannot leave a thread through a future."""
    try:
        return next(run) if vectors is None else run.send(vectors)
    except StopIteration:
        return None
