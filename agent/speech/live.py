"""Live transcription: a source of sound in, events out.

Whatever does not fit is said: partials are left out first, finals wait in a bounded queue, then comes `Overload`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self

from agent.runtime.wire.transcription import Transcribe
from agent.speech import policy
from agent.speech.cadence import Cadence
from agent.speech.ear import Ear
from agent.speech.event_queue import EventQueue
from agent.speech.events import LiveEvent
from agent.speech.job import Job
from agent.speech.passes import Passes, TranscribeCall
from agent.speech.pcm import BYTES_PER_INT16, samples_in, seconds
from agent.speech.policy import Partials
from agent.speech.report import Report
from agent.speech.segmenter import Cut, Piece, Segmentation, SpeechStart
from agent.speech.source import Block, DeviceChange, Heard, Missing
from agent.speech.vad import VoiceActivity

FRAMES_PER_TURN = 4
"""The VAD takes a millisecond or more per frame: others get the event loop in between."""
FILLED_GAP_S = 0.3
"""A shorter loss becomes silence in the segment, a longer one ends it."""


@dataclass(frozen=True, kw_only=True)
class LiveOptions:
    """`request` is the pattern of every pass (its audio is replaced): language, task, prompt, hotwords, timestamps,
    temperatures. The default allows one fallback: a live final must not be tried six times.

    `max_queued_s` bounds the speech that waits for its final pass. Beyond it, `when_full` says whether a segment is
    dropped with an `Overload` event (a microphone cannot wait) or the source is not read (a client can). For at most
    `max_refused_s` a final pass is offered to an engine whose queue is full; then comes `Failure`.
    `level_interval_s` 0 sends no levels.
    """

    request: Transcribe = field(default_factory=lambda: Transcribe(audio=b"", temperatures=(0.0, 0.4)))
    segmentation: Segmentation = field(default_factory=Segmentation)
    partials: Partials = field(default_factory=Partials)
    max_queued_s: float = 60.0
    when_full: Literal["drop", "wait"] = "drop"
    max_refused_s: float = 30.0
    level_interval_s: float = 0.1
    cadence: Cadence = field(default_factory=Cadence)
    """Shared with whoever slows partial passes down while the session runs."""

    def __post_init__(self) -> None:
        if self.partials.ready_silence_s > self.segmentation.end_silence_s:
            raise ValueError("ready_silence_s must not be longer than end_silence_s")


class LiveSession:
    """`async with LiveSession(...) as session: async for event in session`. Ends with its source, or by `finish`.

    Iterating raises what the source raised, and `RequestError` for a block that is not 16-bit PCM.
    """

    def __init__(
        self,
        source: AsyncIterable[Heard],
        transcribe: TranscribeCall,
        *,
        voice: VoiceActivity,
        options: LiveOptions | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._options = options = options or LiveOptions()
        self._events = EventQueue()
        self._report = Report(self._events, clock, wall)
        self._ear = Ear(options.segmentation, voice)
        self._passes = Passes(
            transcribe,
            self._ear,
            self._report,
            request=options.request,
            partials=options.partials,
            max_refused_s=options.max_refused_s,
            clock=clock,
            cadence=options.cadence,
        )
        self._segments = 0
        self._level_at = 0
        self._levels = True
        self._finishing = False
        self._reading: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(self._guard(self._hear()), name="live:hear"),
            asyncio.create_task(self._guard(self._answer()), name="live:answer"),
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> LiveEvent:
        return await self._events.get()

    def finish(self) -> None:
        """Hear no more; what was said until now is still transcribed, and the iteration ends after it."""
        self._finishing = True
        if self._reading is not None:
            self._reading.cancel()

    async def deaf(self) -> None:
        """Returns when the source is not read any more, after `finish`."""
        if self._reading is not None:
            await asyncio.wait({self._reading})

    def tell_levels(self, wanted: bool) -> None:
        """Whether `level` events are of use to anybody now."""
        if wanted and not self._levels:
            self._ear.take_loudness()
        self._levels = wanted

    @property
    def queued_s(self) -> float:
        """Speech that waits for its final pass, in seconds."""
        return self._passes.queued_s

    @property
    def speaking(self) -> bool:
        """Whether somebody is speaking just now."""
        return self._ear.speaking

    @property
    def heard_s(self) -> float:
        """Sound so far, the lost included, in seconds."""
        return seconds(self._ear.position)

    @property
    def real_time_factor(self) -> float | None:
        """Time that the last pass took, over the sound that it saw."""
        return self._passes.pace.real_time_factor

    async def _guard(self, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception as error:
            self._events.close(error)

    async def _answer(self) -> None:
        await self._passes.run()
        self._events.close()

    async def _hear(self) -> None:
        if not self._finishing:
            self._reading = asyncio.create_task(self._read(), name="live:read")
            try:
                await self._reading
            except asyncio.CancelledError:
                if (task := asyncio.current_task()) is None or task.cancelling():
                    self._reading.cancel()
                    await asyncio.gather(self._reading, return_exceptions=True)
                    raise
        self._take(self._ear.end())
        self._passes.complete()

    async def _read(self) -> None:
        async for item in self._source:
            match item:
                case Block():
                    await self._block(item)
                case Missing():
                    await self._missing(item)
                case DeviceChange():
                    self._device(item)
            await self._events.room()

    async def _block(self, block: Block) -> None:
        self._report.first_block(block, self._ear.position)
        for number, cuts in enumerate(self._ear.hear(block), 1):
            self._take(cuts)
            self._ear.forget()
            self._tell_level()
            if self._ear.speaking:
                self._passes.look()
            if number % FRAMES_PER_TURN == 0:
                await asyncio.sleep(0)
            if self._options.when_full == "wait":
                await self._passes.room(self._options.max_queued_s)

    async def _missing(self, missing: Missing) -> None:
        self._report.lost(self._ear.position, missing)
        if missing.samples <= samples_in(FILLED_GAP_S):
            await self._block(Block(bytes(missing.samples * BYTES_PER_INT16), self._ear.heard_at))
        else:
            self._break(missing.samples)

    def _device(self, change: DeviceChange) -> None:
        if change.state != "open":
            self._break(0)
        self._report.device(self._ear.position, change)

    def _break(self, samples: int) -> None:
        self._take(self._ear.lose(samples))
        self._ear.resume()

    def _take(self, cuts: list[Cut]) -> None:
        for cut in cuts:
            match cut:
                case SpeechStart(at):
                    self._begin(at)
                    self._report.speech_start(self._segments - 1, at)
                case Piece():
                    self._ended(cut)
                case _:
                    self._silent(cut.at)

    def _begin(self, at: int) -> None:
        self._passes.open = policy.begin(self._segments, at)
        self._segments += 1

    def _ended(self, piece: Piece) -> None:
        utterance, self._passes.open = self._passes.open, None
        if utterance is None:
            raise RuntimeError("a segment ended that never began")
        job = Job(utterance, piece, self._ear.sound(piece.start, piece.end), self._ear.voiced_at)
        queued_s = self._passes.queued_s
        if self._options.when_full == "drop" and queued_s + job.seconds > self._options.max_queued_s:
            self._report.overload(job, queued_s)
        else:
            self._passes.add(job)
        if piece.reason == "cap":
            self._begin(piece.end)

    def _silent(self, at: int) -> None:
        """Speech is over. A rest that a cut at the hard cap left may hold no speech, and yet have been shown."""
        utterance, self._passes.open = self._passes.open, None
        self._report.speech_end(self._segments - 1, at)
        if utterance is not None and utterance.shown:
            rest = Piece(utterance.start, max(at, utterance.start), at, "silence")
            limit = self._options.request.no_speech_limit
            self._report.final(Job(utterance, rest, b"", self._ear.voiced_at), None, 0.0, no_speech_limit=limit)

    def _tell_level(self) -> None:
        interval = samples_in(self._options.level_interval_s)
        if interval and self._levels and self._ear.position - self._level_at >= interval:
            self._level_at = self._ear.position
            rms, peak = self._ear.take_loudness()
            self._report.level(self._ear.position, rms, peak, speech=self._ear.speaking)
