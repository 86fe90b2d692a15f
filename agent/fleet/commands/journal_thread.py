"""The journal and the one thread that uses it, so that the event loop never waits for the disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from agent.fleet.commands.journal import Journal

P = ParamSpec("P")
T = TypeVar("T")


class JournalThread:
    """Calls run one after the other, in the order in which they came."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="commands")

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `function` returns or raises. Cancelling the wait lets the call itself end."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, lambda: function(*args, **kwargs))

    async def close(self) -> None:
        """Waits for the calls that were accepted."""
        await self.run(self.journal.close)
        self._executor.shutdown(wait=False)
