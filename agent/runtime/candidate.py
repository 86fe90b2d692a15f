"""A model in a worker of its own, loaded to be tried before it may take the place of the one that serves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from agent.errors import EdgeAgentError, UnavailableError
from agent.hardware.sensors.turns import Turns, read_turns
from agent.runtime.faults import another
from agent.runtime.lifecycle import State
from agent.runtime.stream import Stream
from agent.runtime.succession import Succession
from agent.runtime.wire.control import Pong
from agent.runtime.wire.loading import Loaded
from agent.runtime.wire.messages import Request


@dataclass(frozen=True)
class Moment:
    """A monotonic time, and what a worker had got of the processors by then, where that is known."""

    at: float = 0.0
    turns: Turns | None = None


class Candidate:
    """From `Runtime.introduce`: ready, behind all others in the scheduler, known to nobody else.

    It stays until `dismiss`, until `Runtime.set_models` chooses its version (then it serves on, without another load),
    or until a model that somebody asks for needs its memory.
    """

    def __init__(
        self,
        succession: Succession,
        *,
        enter: Callable[[Request], Stream],
        give_up: Callable[[EdgeAgentError], Awaitable[None]],
    ) -> None:
        self._succession = succession
        self._model = succession.new
        self._enter = enter
        self._give_up = give_up
        self._expiry: asyncio.Task[None] | None = None

    @property
    def loaded(self) -> Loaded | None:
        """The worker's own words, None once it is gone."""
        return self._model.snapshot().loaded

    @property
    def pid(self) -> int | None:
        return self._model.snapshot().pid

    def moment(self) -> Moment:
        return Moment(time.monotonic(), self._turns())

    def starved_since(self, before: Moment) -> bool:
        """Whether its worker has mostly waited for other processes: then it is slow by no fault of its own."""
        now = self._turns()
        if before.turns is None or now is None:
            return False
        return now.starved_since(before.turns, time.monotonic() - before.at)

    def _turns(self) -> Turns | None:
        pid = self.pid
        return None if pid is None else read_turns(pid)

    @property
    def stats(self) -> Pong | None:
        return self._model.snapshot().stats

    @property
    def charged_bytes(self) -> int:
        """What the ledger charges: what it needs at its fullest, or what it was seen to hold, where that is more."""
        return self._model.memory_bytes

    @property
    def in_place(self) -> bool:
        """Whether the model that serves had to be unloaded for it, so that requests wait meanwhile."""
        return self._succession.old is not None and self._succession.old.aside

    def fault(self) -> EdgeAgentError | None:
        """Why it cannot be tried any further by its own doing: it crashed, or hung; None while it is well."""
        return self._model.failure if self._model.life.state is State.FAILED else None

    def lost(self) -> str | None:
        """Why it was taken away, by nobody's fault; None while it is there."""
        state = self._model.life.state
        if self._succession.over:
            return "another version was chosen meanwhile"
        return None if state in (State.READY, State.FAILED) else self._model.life.reason or f"it is {state}"

    def submit(self, request: Request) -> Stream:
        """Raises `EdgeAgentError` for what made it fail, and `UnavailableError` if it was taken away."""
        if (fault := self.fault()) is not None:
            raise another(fault)
        if (lost := self.lost()) is not None:
            raise UnavailableError(f"The candidate for {self._model.name} was taken away: {lost}.")
        return self._enter(request)

    def set_pace(self, *, gives_way: bool) -> None:
        """Behind all others, with one thread; or as it would serve, to measure it."""
        self._model.pace.set(gives_way=gives_way)

    async def dismiss(self, reason: str) -> None:
        """Unload it, and let the model that stood aside serve again. Returns when it is gone; nothing if it serves."""
        if self._expiry is not None and self._expiry is not asyncio.current_task():
            self._expiry.cancel()
        await self._give_up(UnavailableError(reason))

    def stand_by(self, seconds: float) -> None:
        """Keep it for so long, for `Runtime.set_models` to choose it."""
        self._expiry = asyncio.create_task(self._expire(seconds), name=f"standby:{self._model.name}")

    async def _expire(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self.dismiss("Nobody chose it in time.")
