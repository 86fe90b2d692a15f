"""What happened, as events: positions become seconds of sound and times of the wall clock."""

from __future__ import annotations

from collections.abc import Callable

from agent.errors import EdgeAgentError
from agent.runtime.wire.transcription import Transcribed
from agent.speech import policy
from agent.speech.event_queue import EventQueue
from agent.speech.events import Device, Failure, Final, Level, Lost, Overload, Partial, SpeechEnd, SpeechStart
from agent.speech.hypothesis import join, spoken, words_of
from agent.speech.job import Job
from agent.speech.pcm import BYTES_PER_INT16, dbfs, seconds
from agent.speech.policy import Utterance
from agent.speech.source import Block, DeviceChange, Missing
from agent.speech.transcript import shifted


class Report:
    """Writes to `events`. `clock` is monotonic, `wall` in seconds since 1970."""

    def __init__(self, events: EventQueue, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        self._events = events
        self._clock = clock
        self._wall = wall
        self._zero: float | None = None

    def first_block(self, block: Block, position: int) -> None:
        """Fixes the wall-clock time of the session's sound; later calls change nothing."""
        if self._zero is None:
            length_s = seconds(position + len(block.pcm) // BYTES_PER_INT16)
            self._zero = self._wall() - (self._clock() - block.heard_at) - length_s

    def level(self, at: int, rms: float, peak: float, *, speech: bool) -> None:
        """`rms` and `peak` are from 0 to 1."""
        rms_dbfs, peak_dbfs = round(dbfs(rms), 1), round(dbfs(peak), 1)
        self._events.put(
            Level(at_s=seconds(at), time=self._time(at), rms_dbfs=rms_dbfs, peak_dbfs=peak_dbfs, speech=speech)
        )

    def speech_start(self, segment: int, at: int) -> None:
        self._events.put(SpeechStart(segment=segment, at_s=seconds(at), time=self._time(at)))

    def speech_end(self, segment: int, at: int) -> None:
        self._events.put(SpeechEnd(segment=segment, at_s=seconds(at), time=self._time(at)))

    def lost(self, at: int, missing: Missing) -> None:
        self._events.put(Lost(at_s=seconds(at), time=self._time(at), samples=missing.samples, reason=missing.reason))

    def device(self, at: int, change: DeviceChange) -> None:
        self._events.put(
            Device(
                at_s=seconds(at),
                time=round(self._wall(), 3),
                state=change.state,
                name=change.name,
                reason=change.reason,
                hint=change.hint,
                retry_s=change.retry_s,
            )
        )

    def partial(self, utterance: Utterance, end: int, heard_at: float) -> None:
        self._events.put(
            Partial(
                segment=utterance.id,
                text=join(utterance.text_words),
                committed=join(utterance.committed),
                start_s=seconds(utterance.start),
                end_s=seconds(end),
                time=self._time(utterance.start),
                latency_s=round(self._clock() - heard_at, 3),
            )
        )

    def final(self, job: Job, transcribed: Transcribed | None, took_s: float, *, no_speech_limit: float) -> None:
        """Nothing for a segment without text, unless a partial one has to be taken back."""
        segments = () if transcribed is None else spoken(transcribed, no_speech_limit=no_speech_limit)
        text = join(policy.finished(job.utterance, words_of(segments)))
        if not text and not job.utterance.shown:
            return
        start_s, end_s = seconds(job.piece.start), seconds(job.piece.end)
        self._events.put(
            Final(
                segment=job.utterance.id,
                text=text,
                start_s=start_s,
                end_s=end_s,
                time=self._time(job.piece.start),
                latency_s=round(self._clock() - job.voiced_at, 3),
                pass_s=round(took_s, 3),
                language=None if transcribed is None else transcribed.language,
                segments=tuple(shifted(segment, start_s, end_s=end_s) for segment in segments) if text else (),
                reason=job.piece.reason,
            )
        )

    def overload(self, job: Job, queued_s: float) -> None:
        self._events.put(
            Overload(
                segment=job.utterance.id,
                start_s=seconds(job.piece.start),
                end_s=seconds(job.piece.end),
                time=self._time(job.piece.start),
                queued_s=round(queued_s, 3),
            )
        )

    def failure(self, job: Job, error: EdgeAgentError) -> None:
        self._events.put(
            Failure(
                segment=job.utterance.id,
                start_s=seconds(job.piece.start),
                end_s=seconds(job.piece.end),
                time=self._time(job.piece.start),
                code=error.code,
                message=error.message,
                hint=error.hint,
            )
        )

    def _time(self, position: int) -> float:
        return round((self._wall() if self._zero is None else self._zero) + seconds(position), 3)
