"""What a transcription cost, in its answer; and passes that leave nothing behind when they fail."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

import pytest

from agent.api.counted import CountedPasses
from agent.api.transcription_answer import Transcript
from agent.api.transcription_form import TranscriptionForm
from agent.runtime.stream import Stream
from agent.runtime.wire.transcription import Transcribe, Transcribed
from agent.speech.decode_messages import AudioEnd
from agent.speech.transcriber import RuntimeTranscriber

DONE = Transcribed(
    id=1, language="en", language_probability=1.0, audio_s=1.0, segments=(), completion_tokens=0, encode_s=0, decode_s=0
)


class Meter:
    """Charges what it is told to, for each request in turn."""

    def __init__(self, *joules: float | None) -> None:
        self._joules = list(joules)
        self.begun: list[tuple[str, str]] = []

    def begin(self, key: int, model: str, task: str, *, waits: bool = False) -> None:
        assert waits  # its worker says when it begins
        self.begun.append((model, task))

    def compute(self, key: int, at_s: float) -> None:
        raise AssertionError("nobody says that here")

    def finish(self, key: int, at_s: float | None = None) -> Awaitable[float | None]:
        found: asyncio.Future[float | None] = asyncio.get_running_loop().create_future()
        found.set_result(self._joules.pop(0))
        return found

    def drop(self, key: int) -> None:
        raise AssertionError("nothing is dropped here")


class Engine:
    """`Runtime.submit`, answered at once."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def submit(self, model: str, request: Transcribe, *, client: str, **_: Any) -> Stream:
        stream = Stream(
            request,
            model=model,
            client=client,
            submitted_at=0.0,
            holder=self,
            limit_events=9,
            limit_bytes=999,
            energy=self._meter,
        )
        stream.begin(self, 0.0)
        stream.push(DONE)
        stream.finish()
        return stream

    def drop(self, stream: Stream) -> None: ...


@pytest.mark.parametrize(
    ("bills", "billed", "joules"),
    [
        pytest.param([1.5, 2.0], True, 3.5, id="pieces add up"),
        pytest.param([1.5, None, 2.0], True, None, id="one was not measured"),
        pytest.param([1.5], False, None, id="nobody asked"),
        pytest.param([], True, 0.0, id="no speech"),
    ],
)
async def test_what_the_pieces_of_a_file_cost(bills: list[float | None], billed: bool, joules: float | None) -> None:
    meter = Meter(*bills)
    ask = RuntimeTranscriber(Engine(meter), "whisper", client="me", billed=billed)  # type: ignore[arg-type]
    for _ in bills:
        await ask(Transcribe(audio=b""))
    assert await ask.joules() == joules
    assert meter.begun == [("whisper", "transcribe")] * len(bills)


@pytest.mark.parametrize("response_format", ["json", "verbose_json"])
def test_an_answer_tells_joules_by_the_second_of_sound_only_where_they_were_measured(response_format: Any) -> None:
    transcript = Transcript(TranscriptionForm(response_format=response_format), "transcribe")
    transcript.end(AudioEnd(samples=32_000), joules=3.0)
    assert transcript.as_json()["timings"] == {"joules": 3.0, "joules_per_audio_second": 1.5}
    transcript.end(AudioEnd(samples=0), joules=3.0)
    assert transcript.as_json()["timings"] == {"joules": 3.0}
    transcript.end(AudioEnd(samples=32_000))
    assert "timings" not in transcript.as_json()


class Books:
    """`ModelMetrics`, as far as passes need it."""

    def __init__(self) -> None:
        self.ended: list[type[BaseException] | None] = []

    def started(self) -> None: ...

    def tokens(self, count: int) -> None: ...

    def finished(self, record: object, error: BaseException | None) -> None:
        self.ended.append(None if error is None else type(error))


class Session:
    async def transcribe(self, request: Transcribe) -> Transcribed:
        raise asyncio.CancelledError if request.prompt else ValueError


@pytest.mark.parametrize(("prompt", "error"), [("x", asyncio.CancelledError), ("", ValueError)])
async def test_a_pass_that_fails_leaves_its_session_to_no_garbage_collector(
    prompt: str, error: type[BaseException]
) -> None:
    session, books = Session(), Books()
    passes = CountedPasses(session.transcribe, books)  # type: ignore[arg-type]
    gc.collect()
    gc.disable()
    try:
        with suppress(error):
            await passes(Transcribe(audio=b"", prompt=prompt))
        watched = weakref.ref(session)
        del session, passes
        assert watched() is None
    finally:
        gc.enable()
    assert books.ended == [error]
