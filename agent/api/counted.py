"""Passes of a live transcription in the books: each is a request for the model's work."""

from __future__ import annotations

from agent.api.access import Record
from agent.api.metrics import ModelMetrics
from agent.runtime.wire.transcription import Transcribe, Transcribed
from agent.speech.passes import TranscribeCall


class CountedPasses:
    """A `TranscribeCall` over another one. `tokens` is what all passes so far have sampled."""

    def __init__(self, transcribe: TranscribeCall, metrics: ModelMetrics) -> None:
        self._transcribe = transcribe
        self._metrics = metrics
        self.tokens = 0

    async def __call__(self, request: Transcribe) -> Transcribed:
        """Raises what the call below raises."""
        record = Record()
        self._metrics.started()
        try:
            done = await self._transcribe(request)
        except BaseException as error:  # in no name that lives on: it would hold the session and its VAD in a cycle
            self._metrics.finished(record, error)
            raise
        self.tokens += done.completion_tokens
        self._metrics.tokens(done.completion_tokens)
        self._metrics.finished(record, None)
        return done
