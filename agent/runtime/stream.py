"""What a client of the runtime holds: one request's events, as they come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import Final, Protocol

from agent.errors import EdgeAgentError, RequestError
from agent.runtime.spec import Task
from agent.runtime.wire.embedding import Embed, Embedded
from agent.runtime.wire.generation import Delta, Generate
from agent.runtime.wire.messages import Event, Request
from agent.runtime.wire.transcription import Transcribe

EVENT_OVERHEAD_BYTES = 100
"""A message object and its place in the list, roughly; keeps a flood of empty deltas from being free."""


BILL_WAIT_S = 0.5
"""How long an answer may wait for its joules. Meters that are read at a request's end take milliseconds."""

_TASKS: Final[dict[type[Request], Task]] = {Generate: "generate", Embed: "embed", Transcribe: "transcribe"}


class Energy(Protocol):
    """Whoever measures what requests cost; `key` is the request's id. Times are the worker's, by the monotonic clock of
    the machine: they lie a little before the call."""

    def begin(self, key: int, model: str, task: Task, *, waits: bool = False) -> None:
        """A worker has it. One that `waits` costs nothing until `compute`."""

    def compute(self, key: int, at_s: float) -> None:
        """The worker has begun with it, at `at_s`."""

    def finish(self, key: int, at_s: float | None = None) -> Awaitable[float | None]:
        """It was done at `at_s`, None for now: its joules as they are known when this is awaited, None where they were
        not measured."""
        ...

    def drop(self, key: int) -> None:
        """It was cancelled, or failed."""


class Holder(Protocol):
    """Where a stream's request is now: waiting in the queue, or running in a worker."""

    def drop(self, stream: Stream) -> None:
        """Nobody wants the request any more."""


class Stream:
    """Async iterator over lists of events: everything that arrived since the last look, at least one.

    Ends after the last choice's `Finished`, the `Embedded`, the `Transcribed`, or `cancel`. A request that fails raises
    its `EdgeAgentError` from the iteration instead. `submitted_at` and `dispatched_at` are of the runtime's clock.
    """

    __slots__ = (
        "_bill",
        "_ended",
        "_energy",
        "_error",
        "_holder",
        "_limit_bytes",
        "_limit_events",
        "_pending",
        "_pending_bytes",
        "_taker",
        "_waiter",
        "client",
        "cost",
        "dispatched_at",
        "id",
        "model",
        "request",
        "submitted_at",
    )

    def __init__(
        self,
        request: Request,
        *,
        model: str,
        client: str,
        submitted_at: float,
        holder: Holder,
        limit_events: int,
        limit_bytes: int,
        energy: Energy | None = None,
    ) -> None:
        self.id = request.id
        self.model = model
        self.client = client
        self.request = request
        self.cost = max(1, request.n) if isinstance(request, Generate) else 1
        self.submitted_at = submitted_at
        self.dispatched_at: float | None = None
        self._holder = holder
        self._pending: list[Event] = []
        self._pending_bytes = 0
        self._limit_events = limit_events
        self._limit_bytes = limit_bytes
        self._taker: Callable[[Delta], bool] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False
        self._energy = energy
        self._bill: Awaitable[float | None] | None = None
        self._error: EdgeAgentError | None = None

    @property
    def started(self) -> bool:
        """Whether a worker has the request."""
        return self.dispatched_at is not None

    @property
    def queued_s(self) -> float:
        """How long the request waited for a worker; 0 until it has one."""
        return 0.0 if self.dispatched_at is None else self.dispatched_at - self.submitted_at

    @property
    def ended(self) -> bool:
        """No further event will arrive; those that have can still be read."""
        return self._ended

    @property
    def failed(self) -> bool:
        """Whether it ended, or will, with an error."""
        return self._error is not None

    async def joules(self) -> float | None:
        """What the request cost, after its last event. None where that was not measured."""
        return await _joules(self._bill)

    def joules_later(self) -> Callable[[], Awaitable[float | None]]:
        """The same, to be asked for after the stream and its request are gone, as often as one likes: what a slow meter
        did not see by the request's end it may have seen by then."""
        return partial(_joules, self._bill)

    def hand_to(self, taker: Callable[[Delta], bool]) -> None:
        """New text that arrives while the reader waits goes to `taker`, in the tick in which it arrives and without
        waking the reader; to the reader where it returns False. It must not raise."""
        self._taker = taker

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> list[Event]:
        """Raises the request's `EdgeAgentError`, after the events that came before it."""
        while not self._pending:
            if self._ended:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            if self._waiter is not None:
                raise RuntimeError("two tasks read from one stream")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        events, self._pending = self._pending, []
        self._pending_bytes = 0
        return events

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()

    async def aclose(self) -> None:
        """`cancel`, for `contextlib.aclosing`."""
        self.cancel()

    def cancel(self) -> None:
        """The request is not wanted any more: it leaves the queue or its slot, and the iteration ends. Idempotent."""
        if not self._ended:
            self._pending.clear()
            self._end(None)
            self._holder.drop(self)

    # For whoever holds the request:

    def begin(self, holder: Holder, now: float) -> None:
        """A worker has it."""
        self._holder = holder
        self.dispatched_at = now
        if self._energy is not None:
            waits = isinstance(self.request, Transcribe)  # its worker says when it begins
            self._energy.begin(self.id, self.model, _TASKS[type(self.request)], waits=waits)

    def compute(self, at_s: float) -> None:
        """The worker has begun with it, at `at_s` by the machine's monotonic clock."""
        if not self._ended and self._energy is not None:
            self._energy.compute(self.id, at_s)

    def push(self, event: Event) -> None:
        """Append an event; the reader is woken once for all that arrive in one tick.

        A reader that fell too far behind gets an error, and its request is dropped. One event alone is never too much.
        """
        if self._ended:
            return
        waiter = self._waiter
        reader_waits = waiter is not None and not waiter.done()
        if reader_waits and self._taker is not None and type(event) is Delta and self._taker(event):
            return
        pending = self._pending
        pending.append(event)
        self._pending_bytes += EVENT_OVERHEAD_BYTES + _payload_bytes(event)
        if len(pending) > 1 and (len(pending) > self._limit_events or self._pending_bytes > self._limit_bytes):
            held_bytes = self._pending_bytes
            pending.clear()
            self._end(
                RequestError(
                    f"The client does not read its stream: {held_bytes} bytes were waiting, so it was cancelled.",
                    hint="Read the events as they come, or ask for less output.",
                )
            )
            self._holder.drop(self)
            return
        if waiter is not None and reader_waits:
            waiter.set_result(None)

    def finish(self, at_s: float | None = None) -> None:
        """All of its events were pushed. `at_s` is when the worker was done, by the machine's monotonic clock."""
        if not self._ended and self._energy is not None and self.started:
            self._bill = self._energy.finish(self.id, at_s)
        self._end(None)

    def fail(self, error: EdgeAgentError) -> None:
        """The request ends with `error`."""
        self._end(error)

    def _end(self, error: EdgeAgentError | None) -> None:
        if self._ended:
            return
        self._ended = True
        self._taker = None
        self._error = error
        if self._energy is not None and self.started and self._bill is None:
            self._energy.drop(self.id)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


async def _joules(bill: Awaitable[float | None] | None) -> float | None:
    if bill is None:
        return None
    try:
        return await asyncio.wait_for(asyncio.shield(bill), BILL_WAIT_S)
    except TimeoutError:
        return None


def _payload_bytes(event: Event) -> int:
    if isinstance(event, Delta):
        if event.logprobs is None:
            return len(event.text)
        return len(event.text) + EVENT_OVERHEAD_BYTES * sum(1 + len(token.top) for token in event.logprobs)
    return len(event.vectors) if isinstance(event, Embedded) else 0
