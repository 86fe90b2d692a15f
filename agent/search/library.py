"""All collections of the device, as the daemon uses them: opened when needed, indexed in the background.

async with asyncio.TaskGroup() as group:
    group.create_task(library.run())
    await library.create("facts", model)
    await library.take("facts", "facts.csv", rows)
    hits = await library.read("facts", lambda collection: collection.search(query))
    await library.stop()
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar
from weakref import WeakValueDictionary

from agent.errors import EdgeAgentError, ShuttingDownError
from agent.search.background import Background, IndexState
from agent.search.collection import Collection, Stats
from agent.search.embedder import Embedder
from agent.search.model_id import ModelId
from agent.search.open_collection import OpenCollection
from agent.search.readings import Piece, Rows
from agent.search.shelf import Shelf

OPEN_LIMIT: Final = 8
"""Collections that stay open though nobody uses them: each has two connections with their caches."""

T = TypeVar("T")
_log = logging.getLogger(__name__)


class Library:
    """Collections by name. Every method raises `NotFoundError` for one that is not there, and what SQLite's troubles
    become; none blocks the event loop. Nothing is indexed before `run`.
    """

    def __init__(self, shelf: Shelf, embedder: Embedder, *, open_limit: int = OPEN_LIMIT) -> None:
        self._shelf = shelf
        self._open_limit = open_limit
        self._open: dict[str, OpenCollection] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """One for each name that someone opens, closes or removes at this moment."""
        self._background = Background(self.use, embedder)
        self._closing: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Indexes what waits, also from before the last stop or kill; returns after `stop`, with everything closed."""
        try:
            async with asyncio.TaskGroup() as group:
                self._background.start(group)
                group.create_task(self._resume(), name="resume indexing")
                await self._stop.wait()
                self._background.stop()
        finally:
            self._stopping = True
            self._background.stop()
            await self._close_all()

    def stop(self) -> None:
        """Make `run` return; nothing is opened any more."""
        self._stopping = True
        self._stop.set()

    async def names(self) -> list[str]:
        return await asyncio.to_thread(self._shelf.names)

    async def create(self, name: str, model: ModelId, text_columns: Sequence[str] = ()) -> None:
        """A new, empty collection. Raises `RequestError` for a name that is taken or that cannot be one."""
        self._check_running()
        async with self._lock(name):
            await asyncio.to_thread(lambda: self._shelf.create(name, model, text_columns).close())

    async def remove(self, name: str) -> None:
        """Delete a collection; searches in it that go on end with `NotFoundError`."""
        self._check_running()
        self._shelf.path(name)
        await self._background.forget(name)
        async with self._lock(name):
            if (opened := self._open.pop(name, None)) is not None:
                await opened.abandon()
            await asyncio.to_thread(self._shelf.remove, name)
        await self._background.forget(name)

    @asynccontextmanager
    async def use(self, name: str) -> AsyncIterator[OpenCollection]:
        """The collection, open for as long as the block lasts."""
        self._check_running()
        async with self._lock(name):
            opened = self._open.get(name)
            if opened is None:
                opened = self._open[name] = await self._open_new(name)
            opened.pins += 1
        try:
            yield opened
        finally:
            opened.pins -= 1
            opened.used_at = time.monotonic()
            self._trim()

    async def read(self, name: str, function: Callable[[Collection], T]) -> T:
        """What `function` returns of the collection, in the thread that reads."""
        async with self.use(name) as opened:
            return await opened.read(function)

    async def write(self, name: str, function: Callable[[Collection], T]) -> T:
        """What `function` returns of the collection, in the thread that writes. What waits then is embedded."""
        async with self.use(name) as opened:
            result = await opened.write(function)
        self._background.wake(name)
        return result

    async def take(
        self,
        name: str,
        source: str,
        rows: Rows,
        *,
        reading: str | None = None,
        more: bool = False,
        sync: bool = False,
    ) -> Piece:
        """Take in a source, or a piece of one: see `readings.Readings.take`."""
        async with self.use(name) as opened:
            piece = await opened.write(
                lambda collection: opened.readings.take(collection, source, rows, reading=reading, more=more, sync=sync)
            )
        self._background.wake(name)
        return piece

    async def replace_model(self, name: str, model: ModelId) -> int:
        """Drop all vectors and embed everything again with `model`. Returns how many passages wait."""
        async with self.use(name) as opened:
            waiting = await opened.write(lambda collection: collection.replace_model(model))
        await self._background.forget(name)  # it worked with the old model
        self._background.wake(name)
        return waiting

    async def stats(self, name: str) -> tuple[Stats, IndexState]:
        stats = await self.read(name, lambda collection: collection.stats())
        return stats, self._background.state(name)

    def _lock(self, name: str) -> asyncio.Lock:
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = asyncio.Lock()
        return lock

    async def _open_new(self, name: str) -> OpenCollection:
        opening = asyncio.ensure_future(asyncio.to_thread(self._opened, name))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(self._unwanted)
            raise

    def _unwanted(self, opening: asyncio.Future[OpenCollection]) -> None:
        if not opening.cancelled() and opening.exception() is None:
            self._keep(_closed(opening.result()))

    def _opened(self, name: str) -> OpenCollection:
        reading = self._shelf.open(name)
        try:
            return OpenCollection(reading, self._shelf.open(name))
        except BaseException:
            reading.close()
            raise

    def _trim(self) -> None:
        """Close what has been idle longest, beyond the limit."""
        idle = [one for one in self._open.values() if not one.pins and not one.readings.active]
        idle.sort(key=lambda one: one.used_at)
        for one in idle[: max(0, len(self._open) - self._open_limit)]:
            self._keep(self._close(one))

    def _keep(self, closing: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(closing)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close(self, opened: OpenCollection) -> None:
        async with self._lock(opened.name):
            if self._open.get(opened.name) is opened and not opened.pins:
                del self._open[opened.name]
                await _closed(opened)

    async def _close_all(self) -> None:
        """Ends what runs: a transaction that is cut off is done again after the next start."""
        while self._open:
            _, opened = self._open.popitem()
            await _closed(opened, patient=False)
        if self._closing:
            await asyncio.wait(self._closing)

    async def _resume(self) -> None:
        """After a stop or a kill: go on with whatever waits for vectors."""
        try:
            names = await self.names()
        except OSError as error:
            _log.warning("the folder of collections cannot be read: %s", error)
            return
        for name in names:
            try:
                if await self.read(name, lambda collection: collection.count_waiting()):
                    self._background.wake(name)
            except EdgeAgentError as error:
                _log.warning("collection %s cannot be used: %s", name, error)

    def _check_running(self) -> None:
        if self._stopping:
            raise ShuttingDownError("The daemon is shutting down.", hint="Send it again later.")


async def _closed(opened: OpenCollection, *, patient: bool = True) -> None:
    try:
        await (opened.close() if patient else opened.abandon())
    except EdgeAgentError as error:
        _log.warning("collection %s was not closed cleanly: %s", opened.name, error)
