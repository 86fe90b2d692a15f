"""A process that indexes a CSV file and is killed while it does.

    python -m benchmarks.embedding.search_child FOLDER CSV LOG

The model is made up: a text's vector follows from its hash, and takes no time. Before a batch is answered, the texts
in it are written to LOG, so that whoever killed the process can count what was embedded, and how often.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from array import array
from collections.abc import Sequence
from pathlib import Path

from agent.search.indexing import index
from agent.search.model_id import ModelId
from agent.search.rows import Source, read
from agent.search.shelf import Shelf
from agent.search.thread import CollectionThread

NAME = "killed"
BATCH_ROWS = 64
MODEL = ModelId("from-hash", "1", 384)


def vector_of(text: str) -> array[float]:
    """float32 [384] in -1..1, from the text's hash."""
    seed = hashlib.shake_256(text.encode()).digest(MODEL.dim)
    return array("f", ((byte - 127.5) / 127.5 for byte in seed))


def run(folder: Path, source: Path, log: Path) -> None:
    """Index `source`, or go on with it. LOG gets one line a batch: the ids of the rows, which the texts begin with."""
    shelf = Shelf(folder)
    collection = shelf.open(NAME) if NAME in shelf.names() else shelf.create(NAME, MODEL, ["text"])
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    async def embed(texts: Sequence[str]) -> list[array[float]]:
        os.write(written, (" ".join(text.split()[0] for text in texts) + "\n").encode())
        return [vector_of(text) for text in texts]

    async def all_of_it() -> None:
        thread = CollectionThread(collection)
        rows = read(Source(path=source, text=("text",), key="id"))
        await index(thread, rows, embed, source=source.name, model=MODEL, batch_rows=BATCH_ROWS)
        await thread.close()

    asyncio.run(all_of_it())


if __name__ == "__main__":
    run(*map(Path, sys.argv[1:4]))
