"""A collection and the one thread that uses it, so that an event loop never waits for the disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from agent.search.collection import Collection

P = ParamSpec("P")
T = TypeVar("T")


class CollectionThread:
    """Calls run one after the other, in the order in which they came.

    Open one for writing and, so that a search need not wait for it, another for reading.
    """

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=f"collection-{collection.name}")

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `function` returns or raises. Cancelling the wait lets the call itself end."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, lambda: function(*args, **kwargs))

    async def close(self) -> None:
        """Waits for the calls that were accepted, then closes the collection."""
        await self.run(self.collection.close)
        self._executor.shutdown(wait=False)
