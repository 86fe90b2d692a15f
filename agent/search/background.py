"""Passages get their vectors while the daemon does other things: one task for each collection in which some wait."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Final, Literal

from agent.errors import (
    EdgeAgentError,
    EngineError,
    ModelNotFoundError,
    NotFoundError,
    QueueFullError,
    RequestError,
    ShuttingDownError,
)
from agent.search.embedder import Embedder
from agent.search.indexing import embed_waiting
from agent.search.model_id import ModelChangedError, ModelId
from agent.search.open_collection import OpenCollection
from agent.search.vectors import Floats, normalized

PASSES: Final = 4
"""Collections that are worked on at once; the others wait their turn."""
FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 30.0

Use = Callable[[str], AbstractAsyncContextManager[OpenCollection]]
Activity = Literal["idle", "indexing", "paused"]

_log = logging.getLogger(__name__)


@dataclass
class IndexState:
    """How the indexing of a collection goes. `embedded` of `to_embed` since it began; `paused` is after `error`, or
    because the queue is full, and goes on by itself. `left_out` passages could not be embedded: `error` says why.
    """

    activity: Activity = "idle"
    embedded: int = 0
    to_embed: int = 0
    left_out: int = 0
    passages_per_second: float | None = None
    error: EdgeAgentError | None = None
    more: asyncio.Event = field(default_factory=asyncio.Event)

    def progress(self, begun: float, done: int, total: int) -> None:
        seconds = time.monotonic() - begun
        self.activity, self.embedded, self.to_embed = "indexing", done, total
        self.passages_per_second = done / seconds if seconds > 0 else None
        if not self.left_out:
            self.error = None


class Background:
    """`use` opens a collection, `embedder` makes vectors. Nothing happens before `start`."""

    def __init__(self, use: Use, embedder: Embedder, *, first_pause_s: float = FIRST_PAUSE_S) -> None:
        self._use = use
        self._embedder = embedder
        self._first_pause_s = first_pause_s
        self._group: asyncio.TaskGroup | None = None
        self._turns = asyncio.Semaphore(PASSES)
        self._states: dict[str, IndexState] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, group: asyncio.TaskGroup) -> None:
        self._group = group

    def stop(self) -> None:
        self._group = None
        for task in self._tasks.values():
            task.cancel()

    def state(self, name: str) -> IndexState:
        return self._states.get(name) or IndexState()

    def wake(self, name: str) -> None:
        """Passages may wait in this collection."""
        if self._group is None:
            return
        state = self._states.setdefault(name, IndexState())
        state.more.set()
        if name not in self._tasks:
            self._tasks[name] = self._group.create_task(self._run(name, state), name=f"index {name}")

    async def forget(self, name: str) -> None:
        """Stop indexing it: it is removed, or gets another model."""
        task = self._tasks.get(name)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        self._states.pop(name, None)

    async def _run(self, name: str, state: IndexState) -> None:
        try:
            await self._until_done(name, state)
        finally:
            if self._tasks.get(name) is asyncio.current_task():
                del self._tasks[name]

    async def _until_done(self, name: str, state: IndexState) -> None:
        """Until nothing waits. What goes wrong is tried again after a pause, which grows."""
        pause_s = self._first_pause_s
        while state.more.is_set():
            state.more.clear()
            state.embedded = state.left_out = 0
            try:
                await self._pass(name, state)
                state.activity = "idle"
                continue
            except ShuttingDownError:
                return
            except ModelNotFoundError as error:
                state.error = error
            except NotFoundError:
                self._states.pop(name, None)
                return
            except EdgeAgentError as error:
                state.error = error
            except Exception:
                _log.exception("indexing collection %s failed", name)
                state.error = EdgeAgentError("Something went wrong inside the daemon.", hint="Its log has the details.")
            if state.embedded:
                pause_s = self._first_pause_s
            if isinstance(state.error, QueueFullError):
                delay_s = min(max(state.error.retry_after_s, self._first_pause_s), LONGEST_PAUSE_S)
            else:
                _log.warning("indexing collection %s pauses for %.1f s: %s", name, pause_s, state.error)
                delay_s, pause_s = pause_s, min(2 * pause_s, LONGEST_PAUSE_S)
            state.activity = "paused"
            state.more.set()
            await asyncio.sleep(delay_s)

    async def _pass(self, name: str, state: IndexState) -> None:
        async with self._turns, self._use(name) as opened:
            model = await opened.read(lambda collection: collection.model)
            begun = time.monotonic()
            if state.error is None:
                state.activity = "indexing"
            await embed_waiting(
                opened.writer,
                lambda texts: self._vectors(name, model, texts, state),
                on_progress=lambda done, total: state.progress(begun, done, total),
            )
        if not state.left_out:
            state.error = None
        else:
            _log.warning("%d passages of collection %s were left out: %s", state.left_out, name, state.error)

    async def _vectors(
        self, name: str, model: ModelId, texts: Sequence[str], state: IndexState
    ) -> Sequence[Floats | None]:
        """The vectors of a batch. Where the model refuses it, its halves are tried, so that one text stops no other."""
        try:
            given = await self._embedder.embed(name, model, texts)
        except (RequestError, EngineError) as error:
            if isinstance(error, ModelChangedError | NotFoundError) or not _about_the_texts(error):
                raise
            if len(texts) == 1:
                state.left_out += 1
                state.error = error
                return [None]
            middle = len(texts) // 2
            halves = texts[:middle], texts[middle:]
            return [vector for half in halves for vector in await self._vectors(name, model, half, state)]
        return [self._checked(vector, model, state) for vector in given]

    def _checked(self, vector: Floats, model: ModelId, state: IndexState) -> Floats | None:
        with contextlib.suppress(EngineError):
            return normalized(vector, model.dim, what="a passage")
        state.left_out += 1
        state.error = EngineError("The model made a vector that is none: zero, or not finite.")
        return None


def _about_the_texts(error: RequestError | EngineError) -> bool:
    """`EngineError`'s subclasses are about the model (it cannot be loaded, it crashed)."""
    return isinstance(error, RequestError) or type(error) is EngineError
