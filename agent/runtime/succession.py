"""One version of a model that is made ready to take the place of another, which serves until then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from agent.errors import EdgeAgentError
from agent.runtime.faults import another
from agent.runtime.model import Model


class Succession:
    """`old` is None where a model of that name does not serve yet. With `takes_over`, `new` takes the place as soon as
    it is ready; else it stands by, until somebody decides."""

    def __init__(self, new: Model, old: Model | None, *, takes_over: bool) -> None:
        self.new = new
        self.old = old
        self.takes_over = takes_over
        self.over = False
        """Handed over, or given up: `new` does not stand by any more."""
        self.life: asyncio.Task[None] | None = None
        """Of `new`, until it is retired and nothing is left of it."""
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ready.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def ready(self) -> None:
        """Wait until `new` is loaded. Raises what kept it from that."""
        try:
            await asyncio.shield(self._ready)
        except EdgeAgentError as error:
            raise another(error) from None

    async def bring_up(self, decide: Callable[[EdgeAgentError | None], None]) -> None:
        """Load `new`; `decide` is called with how that went, before anything else can happen."""
        error: EdgeAgentError | None = None
        try:
            await self.new.load()
        except EdgeAgentError as refused:
            error = refused
        decide(error)
        if not self._ready.done():
            if error is None:
                self._ready.set_result(None)
            else:
                self._ready.set_exception(error)

    async def give_up(self, error: EdgeAgentError) -> None:
        """Unload `new` at once, and let `old` serve again if it stood aside. Returns when nothing is left of `new`."""
        self.over = True
        self.new.abandon(lambda: another(error))
        self.new.retire(error)
        if self.life is not None:
            await asyncio.wait([self.life])
        if self.old is not None:
            self.old.come_back()
