"""The engine's side of a live session: one pass at a time; segments that ended first, then the one that still grows."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial

import msgspec

from agent.errors import EdgeAgentError, QueueFullError
from agent.runtime.wire.transcription import Transcribe, Transcribed
from agent.speech import policy
from agent.speech.cadence import Cadence
from agent.speech.ear import Ear
from agent.speech.hypothesis import spoken, words_of
from agent.speech.job import Job
from agent.speech.patience import patiently
from agent.speech.pcm import seconds
from agent.speech.policy import Pace, Partials, PassKind, Utterance
from agent.speech.report import Report

_log = logging.getLogger(__name__)

TranscribeCall = Callable[[Transcribe], Awaitable[Transcribed]]

REFUSAL_WAIT_S = 2.0
"""No partial pass for so long after an error that names no time of its own."""


@dataclass(frozen=True, slots=True)
class _Early:
    """What an early pass came to, for the segment that it foresaw."""

    segment: int
    voiced_end: int
    transcribed: Transcribed
    took_s: float

    def foresaw(self, job: Job) -> bool:
        """It heard all that was said: what the segment has after it is silence."""
        return (self.segment, self.voiced_end) == (job.utterance.id, job.piece.voiced_end)


class Passes:
    """`open` is the segment that grows: the session sets it, passes bring it on. `request` is every pass's pattern."""

    def __init__(
        self,
        transcribe: TranscribeCall,
        ear: Ear,
        report: Report,
        *,
        request: Transcribe,
        partials: Partials,
        max_refused_s: float,
        clock: Callable[[], float],
        cadence: Cadence | None = None,
    ) -> None:
        self._cadence = cadence or Cadence()
        self._transcribe = transcribe
        self._ear = ear
        self._report = report
        self._request = request
        self._partials = partials
        self._max_refused_s = max_refused_s
        self._clock = clock
        self._jobs: deque[Job] = deque()
        self._early: _Early | None = None
        self._running: tuple[asyncio.Task[Transcribed], PassKind | None] | None = None
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._complete = False
        self.open: Utterance | None = None
        self.pace = Pace()

    @property
    def queued_s(self) -> float:
        """Speech that waits for its final pass, the one under way included, in seconds."""
        return sum(job.seconds for job in self._jobs)

    def add(self, job: Job) -> None:
        """A segment has ended. A partial pass that still runs is given up: its answer would only delay the final."""
        self._jobs.append(job)
        if self._running is not None and self._running[1] == "partial":
            self._running[0].cancel()
        self._wake.set()

    def look(self) -> None:
        """There is more sound: a pass over the open segment may be due."""
        self._wake.set()

    def complete(self) -> None:
        """There will be no more segments: `run` returns after those that wait."""
        self._complete = True
        self._wake.set()

    async def room(self, max_queued_s: float) -> None:
        """Returns when no more than `max_queued_s` of speech wait."""
        while self.queued_s > max_queued_s:
            self._room.clear()
            await self._room.wait()

    async def run(self) -> None:
        while True:
            if self._jobs:
                await self._final(self._jobs[0])
                self._jobs.popleft()
                self._room.set()
            elif self.open is not None and (kind := self._due(self.open)) is not None:
                await self._look(self.open, kind)
            elif self._complete:
                return
            else:
                self._wake.clear()
                await self._wake.wait()

    def _due(self, utterance: Utterance) -> PassKind | None:
        ear = self._ear
        return policy.next_pass(
            utterance,
            self.pace,
            self._cadence.of(self._partials),
            heard_to=ear.position,
            voiced_end=ear.voiced_end,
            now=self._clock(),
        )

    async def _look(self, utterance: Utterance, kind: PassKind) -> None:
        heard_to, voiced_end, heard_at = self._ear.position, self._ear.voiced_end, self._ear.heard_at
        end = self._ear.settled_end if kind == "early" else heard_to
        request = msgspec.structs.replace(self._request, audio=self._ear.sound(utterance.start, end))
        if kind == "partial":
            temperatures = request.temperatures[:1]
            request = msgspec.structs.replace(request, temperatures=temperatures, timestamps="none", beam_size=1)
        started = self._clock()
        try:
            transcribed = await self._run(request, kind)
        except EdgeAgentError as error:
            _log.debug("a pass over open speech was refused: %s", error)
            wait_s = error.retry_after_s if isinstance(error, QueueFullError) else REFUSAL_WAIT_S
            if self.open is not None:
                self.open = policy.refused(self.open, self._clock(), wait_s)
            return
        if transcribed is None:
            return
        took_s = self._clock() - started
        self.pace = Pace(seconds(end - utterance.start), took_s)
        if kind == "early":
            self._early = _Early(utterance.id, voiced_end, transcribed, took_s)
        if self.open is not utterance:
            return
        words = words_of(spoken(transcribed, no_speech_limit=self._request.no_speech_limit))
        self.open = policy.looked(utterance, words, kind, self._partials, covered_to=heard_to, said_to=voiced_end)
        if words and self.open.text_words:
            self.open = replace(self.open, shown=True)
            self._report.partial(self.open, end, heard_at)

    async def _final(self, job: Job) -> None:
        early, self._early = self._early, None
        transcribed: Transcribed | None
        if early is not None and early.foresaw(job):
            transcribed, took_s = early.transcribed, early.took_s
        else:
            request = msgspec.structs.replace(self._request, audio=job.audio)
            started = self._clock()
            try:
                transcribed = await patiently(partial(self._run, request, None), self._max_refused_s)
            except EdgeAgentError as error:
                self._report.failure(job, error)
                return
            took_s = self._clock() - started
            self.pace = Pace(job.seconds, took_s)
        self._report.final(job, transcribed, took_s, no_speech_limit=self._request.no_speech_limit)

    async def _run(self, request: Transcribe, kind: PassKind | None) -> Transcribed | None:
        """The engine's answer; None for a pass that `add` gave up."""
        task = asyncio.create_task(self._call(request), name=f"live:{kind or 'final'}")
        self._running = (task, kind)
        try:
            await asyncio.wait({task})
            return None if task.cancelled() else task.result()
        finally:
            self._running = None
            if not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, EdgeAgentError):
                    await task

    async def _call(self, request: Transcribe) -> Transcribed:
        return await self._transcribe(request)
