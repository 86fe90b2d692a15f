"""The runtime's transcribing model as speech sees it: a request in, its answer out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.errors import EngineError, UnavailableError
from agent.runtime.queue import Priority
from agent.runtime.wire.transcription import Transcribe, Transcribed

if TYPE_CHECKING:
    from agent.runtime.service import Runtime
    from agent.runtime.stream import Stream


class RuntimeTranscriber:
    """`await transcriber(Transcribe(...))` with one of the runtime's models; several calls may run at once.

    `client` is who the queue is fair to, `deadline_s` how long one call may wait for a worker. `queued_s` is how long
    all calls so far have waited for one, and `joules` what they cost, which is asked for where calls are `billed`: a
    bill may take a moment. Cancelling the waiting task cancels the request in the queue or the worker.
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
        self.joules: float | None = 0.0 if billed else None
        """None as soon as one call was not measured: a part is not what they cost."""

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
                            await self._pay(stream)
                            return event
                        if getattr(event, "reason", None) == "cancelled":
                            raise UnavailableError("The daemon cancelled this request.", hint="Send it again.")
            finally:
                self.queued_s += stream.queued_s
        raise EngineError("The engine returned no transcription.", hint="The daemon's log has the details.")

    async def _pay(self, stream: Stream) -> None:
        if self._billed:
            joules = await stream.joules()
            self.joules = None if joules is None or self.joules is None else self.joules + joules
