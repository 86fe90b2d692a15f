"""A live session: sound in, events out, with an engine that the test plays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from agent.errors import EngineError, QueueFullError, RequestError, WorkerCrashedError
from agent.runtime.wire.transcription import Segment, Transcribe, Transcribed, Word
from agent.speech.cadence import Cadence
from agent.speech.events import (
    Device,
    Failure,
    Final,
    Level,
    LiveEvent,
    Lost,
    Overload,
    Partial,
    SpeechEnd,
    SpeechStart,
)
from agent.speech.live import LiveOptions, LiveSession
from agent.speech.pcm import BYTES_PER_FLOAT, SAMPLE_RATE_HZ
from agent.speech.policy import Partials
from agent.speech.segmenter import Segmentation
from agent.speech.source import Block, DeviceChange, Heard, Missing

from .sounds import LoudIsSpeech, silence, tone

BLOCK_BYTES = 1024
WALL_S = 1_700_000_000.0
NO_PARTIALS = LiveOptions(partials=Partials(enabled=False), level_interval_s=0)


@dataclass
class Stage:
    """A source that moves the clock, and an engine that is asked. `turns` lets the session work between blocks."""

    items: Iterable[bytes | Missing | DeviceChange]
    answer: Callable[[Stage, Transcribe], Awaitable[Transcribed]] | None = None
    now: float = 50.0
    requests: list[Transcribe] = field(default_factory=list)

    async def source(self) -> AsyncIterator[Heard]:
        for item in self.items:
            if not isinstance(item, bytes):
                yield item
                continue
            for start in range(0, len(item), BLOCK_BYTES):
                block = item[start : start + BLOCK_BYTES]
                self.now += len(block) / 2 / SAMPLE_RATE_HZ
                yield Block(block, self.now)
                for _ in range(8):
                    await asyncio.sleep(0)

    async def transcribe(self, request: Transcribe) -> Transcribed:
        self.requests.append(request)
        if self.answer is not None:
            return await self.answer(self, request)
        return said(request, " ".join(f"word{number}" for number in range(int(length_s(request) / 0.4))))

    async def run(self, options: LiveOptions | None = None) -> list[LiveEvent]:
        session = LiveSession(
            self.source(),
            self.transcribe,
            voice=LoudIsSpeech(),
            options=options,
            clock=lambda: self.now,
            wall=lambda: WALL_S + self.now - 50.0,
        )
        async with asyncio.timeout(20), session:
            return [event async for event in session]


def length_s(request: Transcribe) -> float:
    return len(request.audio) / BYTES_PER_FLOAT / SAMPLE_RATE_HZ


def said(request: Transcribe, text: str) -> Transcribed:
    end_s = length_s(request)
    word = Word(text=text, start_s=0.1, end_s=end_s + 0.5, probability=0.9)
    segments = (Segment(start_s=0.0, end_s=end_s, text=text, words=(word,)),) if text else ()
    return Transcribed(
        id=0,
        language="en",
        language_probability=1.0,
        audio_s=end_s,
        segments=segments,
        completion_tokens=1,
        encode_s=0.0,
        decode_s=0.0,
    )


def of(kind: type[LiveEvent], events: list[LiveEvent]) -> list[LiveEvent]:
    return [event for event in events if isinstance(event, kind)]


async def test_partials_are_left_out_and_come_back_while_people_speak() -> None:
    cadence = Cadence(None)
    spoken = [tone(3.0), silence(1.5)]
    options = LiveOptions(level_interval_s=0, cadence=cadence)
    events = await Stage(spoken).run(options)
    assert [type(event).__name__ for event in events] == ["SpeechStart", "SpeechEnd", "Final"]
    cadence.ratio = 1.0
    assert "Partial" in {type(event).__name__ for event in await Stage(spoken).run(options)}


async def test_each_stretch_of_speech_becomes_a_final_with_its_times() -> None:
    stage = Stage([silence(1.0), tone(1.5), silence(1.5), tone(1.0), silence(1.0)])
    events = await stage.run(NO_PARTIALS)
    assert [type(event).__name__ for event in events] == ["SpeechStart", "SpeechEnd", "Final"] * 2
    finals = [event for event in events if isinstance(event, Final)]
    assert [final.segment for final in finals] == [0, 1]
    for final, (start_s, end_s) in zip(finals, [(1.0, 2.5), (4.0, 5.0)], strict=True):
        assert final.start_s == pytest.approx(start_s - 0.5, abs=0.04)
        assert final.end_s == pytest.approx(end_s + 0.4, abs=0.04)
        assert final.time == pytest.approx(WALL_S + final.start_s, abs=0.002)
        assert final.latency_s == pytest.approx(0.5, abs=0.05)  # the silence that ends a segment
        assert final.segments[0].start_s == pytest.approx(final.start_s, abs=0.001)
        assert final.segments[0].words[0].start_s == pytest.approx(final.start_s + 0.1, abs=0.001)
        assert final.segments[0].words[0].end_s == pytest.approx(final.end_s, abs=0.001)  # not beyond its segment
        assert final.reason == "silence"
    assert len(stage.requests) == 2


async def test_partials_grow_and_what_is_committed_stays() -> None:
    stage = Stage([tone(4.0), silence(1.0)])
    events = await stage.run()
    partials = [event for event in events if isinstance(event, Partial)]
    final = next(event for event in events if isinstance(event, Final))
    assert len(partials) >= 7
    for before, after in pairwise(partials):
        assert after.committed.startswith(before.committed)
        assert after.text.startswith(after.committed)
        assert after.end_s - before.end_s <= 0.6
    assert final.text.startswith(partials[-1].committed)
    assert partials[-1].committed


async def test_the_pass_at_the_pause_is_the_final_one_if_nothing_follows() -> None:
    stage = Stage([tone(2.0), silence(1.0)])
    events = await stage.run()
    final = next(event for event in events if isinstance(event, Final))
    assert stage.requests[-1].temperatures == (0.0, 0.4)
    assert length_s(stage.requests[-1]) == pytest.approx(final.end_s - final.start_s, abs=0.035)
    assert final.latency_s == pytest.approx(0.5, abs=0.05)
    assert sum(request.temperatures == (0.0, 0.4) for request in stage.requests) == 1
    assert all(request.temperatures == (0.0,) for request in stage.requests[:-1])


async def test_on_a_slow_board_the_pass_at_the_pause_starts_sooner_and_is_the_final_one_all_the_same() -> None:
    async def answer(stage: Stage, request: Transcribe) -> Transcribed:
        for _ in range(64):  # eight blocks of 32 ms
            await asyncio.sleep(0)
        return said(request, f"heard {len(stage.requests)}")

    stage = Stage([tone(2.0), silence(1.5)], answer)
    finals = [event for event in await stage.run() if isinstance(event, Final)]
    assert [final.text for final in finals] == [f"heard {len(stage.requests)}"]
    assert length_s(stage.requests[-1]) == pytest.approx(2.0 + 0.22, abs=0.04)
    assert finals[0].end_s == pytest.approx(2.4, abs=0.04)
    assert finals[0].latency_s == pytest.approx(0.5, abs=0.05)


async def test_speech_that_goes_on_after_a_pause_is_transcribed_whole() -> None:
    stage = Stage([tone(1.0), silence(0.4), tone(1.0), silence(1.0)])
    finals = of(Final, await stage.run())
    assert len(finals) == 1
    assert length_s(stage.requests[-1]) == pytest.approx(2.8, abs=0.05)


async def test_silence_and_clicks_ask_nobody_and_say_nothing() -> None:
    stage = Stage([silence(2.0), tone(0.06), silence(2.0), tone(0.05), silence(1.0)])
    assert await stage.run(LiveOptions(level_interval_s=0)) == []
    assert stage.requests == []


@pytest.mark.parametrize("text", ["", "[BLANK_AUDIO]", "bye bye bye bye bye bye bye bye"])
async def test_no_text_for_what_is_no_speech(text: str) -> None:
    async def answer(stage: Stage, request: Transcribe) -> Transcribed:
        return said(request, text)

    events = await Stage([tone(2.0), silence(1.0)], answer).run(LiveOptions(level_interval_s=0))
    assert {type(event) for event in events} == {SpeechStart, SpeechEnd}


async def test_a_partial_that_turns_out_to_be_nothing_is_taken_back() -> None:
    async def answer(stage: Stage, request: Transcribe) -> Transcribed:
        return said(request, "Thanks." if len(stage.requests) == 1 else "")

    events = await Stage([tone(2.0), silence(1.0)], answer).run()
    assert [event.text for event in events if isinstance(event, Partial | Final)] == ["Thanks.", ""]


async def test_speech_longer_than_the_cap_comes_in_pieces_that_abut() -> None:
    options = LiveOptions(
        segmentation=Segmentation(max_segment_s=5.0), partials=Partials(enabled=False), level_interval_s=0
    )
    finals = [event for event in await Stage([tone(12.0), silence(1.0)]).run(options) if isinstance(event, Final)]
    assert [final.reason for final in finals][:-1] == ["cap"] * (len(finals) - 1)
    assert all(final.end_s - final.start_s <= 5.0 for final in finals)
    assert [after.start_s for after in finals[1:]] == [before.end_s for before in finals[:-1]]
    assert finals[0].start_s == 0.0
    assert finals[-1].end_s == pytest.approx(12.4, abs=0.05)


async def test_levels_are_throttled_and_say_whether_somebody_speaks() -> None:
    levels = [
        event for event in await Stage([silence(1.0), tone(1.0, 0.5), silence(1.0)]).run() if isinstance(event, Level)
    ]
    assert 20 <= len(levels) <= 30
    assert levels[2].rms_dbfs == -120.0
    assert max(level.rms_dbfs for level in levels) == pytest.approx(-9.0, abs=0.3)
    assert not levels[0].speech
    assert any(level.speech for level in levels)


async def test_a_segment_that_does_not_fit_the_queue_is_reported_and_never_lost_in_silence() -> None:
    release = asyncio.Event()

    async def answer(stage: Stage, request: Transcribe) -> Transcribed:
        await release.wait()
        return said(request, "yes")

    class Ending(Stage):
        async def source(self) -> AsyncIterator[Heard]:
            async for item in super().source():
                yield item
            release.set()

    stage = Ending([tone(2.0), silence(1.0)] * 5, answer)
    options = LiveOptions(partials=Partials(enabled=False), level_interval_s=0, max_queued_s=6.0)
    events = await stage.run(options)
    overloads = [event for event in events if isinstance(event, Overload)]
    assert [final.segment for final in events if isinstance(final, Final)] == [0, 1]
    assert [overload.segment for overload in overloads] == [2, 3, 4]
    assert overloads[0].queued_s == pytest.approx(5.4, abs=0.2)


async def test_a_client_that_can_wait_is_not_read_until_there_is_room() -> None:
    waiting = 0.0

    async def answer(stage: Stage, request: Transcribe) -> Transcribed:
        nonlocal waiting
        for _ in range(4000):
            await asyncio.sleep(0)
        waiting = max(waiting, session.queued_s)
        return said(request, "yes")

    stage = Stage([tone(2.0), silence(1.0)] * 6, answer)
    options = LiveOptions(partials=Partials(enabled=False), level_interval_s=0, max_queued_s=3.0, when_full="wait")
    session = LiveSession(stage.source(), stage.transcribe, voice=LoudIsSpeech(), options=options)
    async with asyncio.timeout(20), session:
        events = [event async for event in session]
    assert len(of(Final, events)) == 6
    assert not of(Overload, events)
    assert 3.0 < waiting < 8.0


async def test_a_full_engine_and_a_crashed_one_are_asked_again() -> None:
    async def answer(stage: Stage, request: Transcribe) -> Transcribed:
        if len(stage.requests) == 1:
            raise QueueFullError("full", retry_after_s=0.01)
        if len(stage.requests) == 2:
            raise WorkerCrashedError("crashed")
        return said(request, "yes")

    events = await Stage([tone(1.0), silence(1.0)], answer).run(NO_PARTIALS)
    assert [event.text for event in events if isinstance(event, Final)] == ["yes"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (QueueFullError("full", retry_after_s=100.0), "queue_full"),
        (EngineError("broken", hint="mend it"), "engine_error"),
    ],
)
async def test_a_segment_that_fails_is_reported_and_the_next_one_works(error: Exception, code: str) -> None:
    async def answer(stage: Stage, request: Transcribe) -> Transcribed:
        if len(stage.requests) == 1:
            raise error
        return said(request, "yes")

    events = await Stage([tone(1.0), silence(1.0), tone(1.0), silence(1.0)], answer).run(NO_PARTIALS)
    assert [event.code for event in events if isinstance(event, Failure)] == [code]
    assert [event.segment for event in events if isinstance(event, Final)] == [1]


async def test_partials_pause_when_the_engine_is_full_and_finals_do_not() -> None:
    async def answer(stage: Stage, request: Transcribe) -> Transcribed:
        if request.temperatures == (0.0,):
            raise QueueFullError("full", retry_after_s=1.0)
        return said(request, "yes")

    stage = Stage([tone(3.0), silence(1.0)], answer)
    events = await stage.run()
    assert 2 <= sum(request.temperatures == (0.0,) for request in stage.requests) <= 3
    assert [event.text for event in events if isinstance(event, Final)] == ["yes"]


async def test_a_final_does_not_wait_for_a_partial_that_hangs() -> None:
    cancelled = []

    async def answer(stage: Stage, request: Transcribe) -> Transcribed:
        if request.temperatures == (0.0,):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(request)
                raise
        return said(request, "yes")

    events = await Stage([tone(1.0), silence(1.0)], answer).run()
    assert [event.text for event in events if isinstance(event, Final)] == ["yes"]
    assert len(cancelled) == 1


async def test_a_long_loss_ends_the_segment_and_times_go_on_behind_it() -> None:
    stage = Stage([tone(1.0), Missing(32_000, "reopened"), tone(1.0), silence(1.0)])
    events = await stage.run(NO_PARTIALS)
    finals = [event for event in events if isinstance(event, Final)]
    assert [final.reason for final in finals] == ["lost", "silence"]
    assert finals[0].end_s == pytest.approx(1.0, abs=0.04)
    assert finals[1].start_s == pytest.approx(3.0, abs=0.04)
    lost = next(event for event in events if isinstance(event, Lost))
    assert (lost.samples, lost.reason) == (32_000, "reopened")


async def test_a_short_loss_becomes_silence_inside_the_segment() -> None:
    stage = Stage([tone(1.0), Missing(1600, "overrun"), tone(1.0), silence(1.0)])
    events = await stage.run(NO_PARTIALS)
    finals = [event for event in events if isinstance(event, Final)]
    assert len(finals) == 1
    assert finals[0].end_s == pytest.approx(2.5, abs=0.05)
    assert [event.samples for event in events if isinstance(event, Lost)] == [1600]


async def test_a_device_that_goes_away_ends_the_segment_at_once() -> None:
    changes = [
        DeviceChange(state="opening"),
        DeviceChange(state="open", name="mic"),
        tone(1.0),
        DeviceChange(state="lost", name="mic", reason="gone", retry_s=0.1),
    ]
    events = await Stage(changes).run(NO_PARTIALS)
    assert [event.state for event in events if isinstance(event, Device)] == ["opening", "open", "lost"]
    assert [event.reason for event in events if isinstance(event, Final)] == ["lost"]


async def test_finishing_early_still_gives_the_last_words() -> None:
    endless = asyncio.Event()

    class Endless(Stage):
        async def source(self) -> AsyncIterator[Heard]:
            async for item in super().source():
                yield item
            endless.set()
            await asyncio.Event().wait()

    stage = Endless([silence(0.5), tone(1.0)])
    session = LiveSession(stage.source(), stage.transcribe, voice=LoudIsSpeech(), options=NO_PARTIALS)
    async with asyncio.timeout(20), session:
        await endless.wait()
        session.finish()
        events = [event async for event in session]
    assert [event.reason for event in events if isinstance(event, Final)] == ["end"]


async def test_half_a_sample_ends_the_session_with_the_error() -> None:
    with pytest.raises(RequestError, match="odd"):
        await Stage([b"123"]).run()


async def test_memory_stays_bounded_while_nobody_speaks() -> None:
    stage = Stage([silence(30.0)])
    session = LiveSession(stage.source(), stage.transcribe, voice=LoudIsSpeech(), options=NO_PARTIALS)
    async with asyncio.timeout(20), session:
        assert [event async for event in session] == []
    assert session._ear.held_samples <= 0.6 * SAMPLE_RATE_HZ


async def test_a_reader_that_does_not_read_loses_levels_and_partials_only() -> None:
    stage = Stage([tone(2.0), silence(1.0)] * 10)
    session = LiveSession(stage.source(), stage.transcribe, voice=LoudIsSpeech(), clock=lambda: stage.now)
    async with asyncio.timeout(20), session:
        for _ in range(100_000):
            await asyncio.sleep(0)
        assert session.heard_s > 29.9
        events = [event async for event in session]
    assert len(of(Final, events)) == 10
    assert len(of(SpeechStart, events)) == len(of(SpeechEnd, events)) == 10
    assert len(of(Level, events)) <= 40
