"""The runtime's transcribing model as speech sees it: a request in, its answer out."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from agent.errors import EngineError, UnavailableError
from agent.runtime.queue import Priority
from agent.runtime.wire.transcription import Transcribe, Transcribed

if TYPE_CHECKING:
    from agent.runtime.service import Runtime
    from agent.runtime.stream import Stream

MOST_BILLS: Final = 64
"""Kept of what is paid later; older ones are known for good by then."""


class RuntimeTranscriber:
    """`await transcriber(Transcribe(...))` with one of the runtime's models; several calls may run at once.

    `client` is who the queue is fair to, `deadline_s` how long one call may wait for a worker. `queued_s` is how long
    all calls so far have waited for one, `joules()` what they cost, which is known where calls are `billed`.
    Cancelling the waiting task cancels the request in the queue or the worker.
    """

    def __init__(
        self,
        runtime: Runtime,
        model: str,
        *,
        client: str,
        priority: Priority = Priority.NORMAL,
        deadline_s: float | None = None,
        billed: bool = False,
    ) -> None:
        self._runtime = runtime
        self._model = model
        self._client = client
        self._priority = priority
        self._deadline_s = deadline_s
        self._billed = billed
        self.queued_s = 0.0
        self._bills: deque[Callable[[], Awaitable[float | None]]] = deque()
        self._paid: float | None = 0.0 if billed else None

    async def joules(self) -> float | None:
        """What all calls so far cost, as far as it is known by now; None while one of them was not measured, since a
        part is not what they cost. One that was over before its meter was read may be known later."""
        bills = [await bill() for bill in self._bills]
        known = [joules for joules in (self._paid, *bills) if joules is not None]
        return sum(known) if len(known) == len(bills) + 1 else None

    async def __call__(self, request: Transcribe) -> Transcribed:
        """Raises what `Runtime.submit` and the request's stream raise."""
        stream = self._runtime.submit(
            self._model, request, client=self._client, priority=self._priority, deadline_s=self._deadline_s
        )
        async with stream:
            try:
                async for events in stream:
                    for event in events:
                        if isinstance(event, Transcribed):
                            await self._keep_bill(stream)
                            return event
                        if getattr(event, "reason", None) == "cancelled":
                            raise UnavailableError("The daemon cancelled this request.", hint="Send it again.")
            finally:
                self.queued_s += stream.queued_s
        raise EngineError("The engine returned no transcription.", hint="The daemon's log has the details.")

    async def _keep_bill(self, stream: Stream) -> None:
        if not self._billed:
            return
        self._bills.append(stream.joules_later())
        if len(self._bills) > MOST_BILLS:
            oldest = await self._bills.popleft()()
            self._paid = None if oldest is None or self._paid is None else self._paid + oldest
