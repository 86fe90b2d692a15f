"""A collection that is in use: one thread writes, another reads, so that a search never waits for the indexing."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from agent.errors import EdgeAgentError, NotFoundError
from agent.search.collection import Collection
from agent.search.readings import Readings
from agent.search.thread import CollectionThread

T = TypeVar("T")


class OpenCollection:
    """Two connections to one database. `pins` counts who needs it to stay open; `used_at` is of `time.monotonic`."""

    def __init__(self, reading: Collection, writing: Collection) -> None:
        self.name = reading.name
        self.writer = CollectionThread(writing)
        self.readings = Readings()
        self.pins = 0
        self.used_at = time.monotonic()
        self._reader = CollectionThread(reading)
        self._over = False

    async def read(self, function: Callable[[Collection], T]) -> T:
        """What `function` returns. Raises `NotFoundError` where the collection was removed meanwhile."""
        return await self._run(self._reader, function)

    async def write(self, function: Callable[[Collection], T]) -> T:
        """As `read`, in the thread that writes, after what it already has to do."""
        return await self._run(self.writer, function)

    async def close(self) -> None:
        """Waits for the calls that run or wait in the two threads."""
        self._over = True
        await self.writer.close()
        await self._reader.close()

    async def abandon(self) -> None:
        """Close it without patience: what runs is interrupted, what waits is refused."""
        self._over = True
        self.writer.collection.interrupt()
        self._reader.collection.interrupt()
        await self.close()

    async def _run(self, thread: CollectionThread, function: Callable[[Collection], T]) -> T:
        if self._over:
            raise self._removed()
        try:
            return await thread.run(self._unless_over, function, thread.collection)
        except EdgeAgentError:
            if self._over:
                raise self._removed() from None
            raise

    def _unless_over(self, function: Callable[[Collection], T], collection: Collection) -> T:
        if self._over:
            raise self._removed()
        return function(collection)

    def _removed(self) -> NotFoundError:
        return NotFoundError(f"The collection {self.name} was removed, or closed, meanwhile.", param="collection")
