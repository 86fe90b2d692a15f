from __future__ import annotations

import asyncio

import pytest

from agent.errors import EngineError, QueueFullError
from agent.runtime.queue import Priority
from agent.runtime.wire.transcription import Transcribe, Transcribed
from agent.speech.transcriber import RuntimeTranscriber
from tests.api.scripted_runtime import ScriptedRuntime


def heard(request: Transcribe) -> Transcribed:
    return Transcribed(
        id=request.id,
        language="en",
        language_probability=1.0,
        audio_s=len(request.audio) / 64_000,
        segments=(),
        completion_tokens=0,
        encode_s=0.0,
        decode_s=0.0,
    )


def transcriber(runtime: ScriptedRuntime) -> RuntimeTranscriber:
    return RuntimeTranscriber(
        runtime,  # type: ignore[arg-type]
        "whisper",
        client="me",
        priority=Priority.HIGH,
        deadline_s=7.0,
    )


async def test_a_request_is_submitted_as_it_is_and_its_answer_returned() -> None:
    runtime = ScriptedRuntime()

    async def speech(request: Transcribe) -> Transcribed:
        return heard(request)

    runtime.hear(speech)
    request = Transcribe(audio=bytes(64_000), language="en")
    assert (await transcriber(runtime)(request)).audio_s == 1.0
    assert runtime.requests == [request]
    assert runtime.submissions == [("whisper", "me", Priority.HIGH, 7.0)]


async def test_cancelling_the_task_cancels_the_request() -> None:
    runtime = ScriptedRuntime()
    started = asyncio.Event()

    async def speech(request: Transcribe) -> Transcribed:
        started.set()
        await asyncio.sleep(3600)
        return heard(request)

    runtime.hear(speech)
    task = asyncio.create_task(transcriber(runtime)(Transcribe(audio=b"")))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(runtime.dropped) == 1


async def test_errors_come_through() -> None:
    runtime = ScriptedRuntime()

    async def speech(request: Transcribe) -> Transcribed:
        raise EngineError("It broke.")

    runtime.hear(speech)
    with pytest.raises(EngineError, match="It broke"):
        await transcriber(runtime)(Transcribe(audio=b""))
    runtime.capacity = 0
    with pytest.raises(QueueFullError):
        await transcriber(runtime)(Transcribe(audio=b""))
