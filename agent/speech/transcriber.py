"""The runtime's transcribing model as speech sees it: a request in, its answer out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.errors import EngineError, UnavailableError
from agent.runtime.queue import Priority
from agent.runtime.wire import Transcribe, Transcribed

if TYPE_CHECKING:
    from agent.runtime.service import Runtime


class RuntimeTranscriber:
    """`await transcriber(Transcribe(...))` with one of the runtime's models; several calls may run at once.

    `client` is who the queue is fair to, `deadline_s` how long one call may wait for a worker. `queued_s` is how long
    all calls so far have waited for one. Cancelling the waiting task cancels the request in the queue or the worker.
    """

    def __init__(
        self,
        runtime: Runtime,
        model: str,
        *,
        client: str,
        priority: Priority = Priority.NORMAL,
        deadline_s: float | None = None,
    ) -> None:
        self._runtime = runtime
        self._model = model
        self._client = client
        self._priority = priority
        self._deadline_s = deadline_s
        self.queued_s = 0.0

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
                            return event
                        if getattr(event, "reason", None) == "cancelled":
                            raise UnavailableError("The daemon cancelled this request.", hint="Send it again.")
            finally:
                self.queued_s += stream.queued_s
        raise EngineError("The engine returned no transcription.", hint="The daemon's log has the details.")
