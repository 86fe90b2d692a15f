"""Files over HTTP that are broken, engines that are full or fail, clients that leave."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from aiohttp import ClientPayloadError

from agent.api.parts import FILE_TURNS, METRICS
from agent.errors import EngineError, QueueFullError, RequestError
from agent.runtime.wire.transcription import Transcribe, Transcribed
from benchmarks.process import children
from tests.api.audio_files import TRANSCRIBE, answer, echo, events_of, form, noise, post
from tests.api.conftest import Serve, Server, until
from tests.speech.sounds import wav


def decoders() -> list[int]:
    """The decoding processes of this one; other tests' daemons are its children too."""
    return [pid for pid in children(os.getpid()) if b"agent.speech.decoding" in _command(pid)]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""


@pytest.fixture
async def hearing(server: Server) -> Server:
    server.runtime.hear(echo)
    return server


async def test_without_a_model_for_it_the_error_says_so(server: Server) -> None:
    status, text, _ = await post(server, TRANSCRIBE, form(noise(0.5)))
    error = json.loads(text)["error"]
    assert (status, error["param"]) == (404, "model")
    assert "No model here transcribes speech" in error["message"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "The audio file is empty"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(5000), "format not recognised"),
        (wav(0), "its header makes no sense"),
        (wav(2**32 - 1), "its header makes no sense"),
        (wav(8_000, channels=65_535), "too many channels"),
        (wav(16_000, data=b""), "holds no sound"),
        (wav(16_000)[:30], "no audio that can be decoded"),
    ],
)
async def test_what_is_no_audio_is_refused_with_the_reason(hearing: Server, content: bytes, message: str) -> None:
    for stream in ("false", "true"):
        status, text, _ = await post(hearing, TRANSCRIBE, form(content, ("stream", stream)))
        error = json.loads(text)["error"]
        assert (status, error["param"]) == (400, "file")
        assert message in error["message"]
    assert decoders() == []


def encoded(kind: str, rate_hz: int, channels: int, length_s: float, folder: Path) -> bytes:
    sound = np.random.default_rng(1).standard_normal((round(length_s * rate_hz), channels)) * 0.1
    soundfile.write(folder / f"sound.{kind}", sound, rate_hz)
    return (folder / f"sound.{kind}").read_bytes()


@pytest.mark.parametrize(
    ("kind", "rate_hz", "channels"),
    [("wav", 384_000, 1), ("wav", 16_000, 32), ("flac", 96_000, 6), ("mp3", 44_100, 2), ("ogg", 44_100, 2)],
)
async def test_any_rate_and_number_of_channels(
    hearing: Server, tmp_path: Path, kind: str, rate_hz: int, channels: int
) -> None:
    status, text, _ = await post(hearing, TRANSCRIBE, form(encoded(kind, rate_hz, channels, 2.0, tmp_path)))
    assert (status, json.loads(text)["text"]) == (200, "some 2.")


def cut_short(folder: Path) -> bytes:
    whole = encoded("mp3", 16_000, 1, 20.0, folder)
    return whole[: len(whole) // 2]


def not_numbers(folder: Path) -> bytes:
    sound = np.full(32_000, 0.1, "float32")
    sound[100:150] = np.nan
    soundfile.write(folder / "nan.wav", sound, 16_000, subtype="FLOAT")
    return (folder / "nan.wav").read_bytes()


@pytest.mark.parametrize(
    ("made", "header", "field", "expected"),
    [
        (cut_short, "X-Audio-Damage", "damage", "the file is cut short"),
        (not_numbers, "X-Audio-Repaired-Samples", "repaired_samples", "50"),
    ],
)
async def test_what_was_wrong_with_a_file_is_told(
    hearing: Server, tmp_path: Path, made: Any, header: str, field: str, expected: str
) -> None:
    content = made(tmp_path)
    status, text, headers = await post(hearing, TRANSCRIBE, form(content, ("response_format", "verbose_json")))
    assert status == 200
    assert expected in str(json.loads(text)[field])
    assert expected in headers[header]
    _, text, headers = await post(hearing, TRANSCRIBE, form(content, ("response_format", "text")))
    assert expected in headers[header]
    _, text, _ = await post(hearing, TRANSCRIBE, form(content, ("stream", "true")))
    assert expected in str(events_of(text)[-2][field])


async def test_a_full_queue_is_429_at_the_first_piece_and_waited_for_later(server: Server) -> None:
    full: list[int] = []

    async def sometimes_full(request: Transcribe) -> Transcribed:
        number = len(server.runtime.requests)
        if number in full:
            raise QueueFullError("The queue is full.", retry_after_s=0.01)
        return await echo(request)

    server.runtime.hear(sometimes_full)
    full = [1]
    status, _, headers = await post(server, TRANSCRIBE, form(noise(40.0)))
    assert (status, headers["Retry-After"]) == (429, "1")
    server.runtime.requests.clear()
    full = [2, 3]
    assert (await answer(server, length_s=40.0))["text"].count("some") == 2


async def test_an_error_in_mid_file_ends_a_stream_with_an_event(server: Server) -> None:
    async def break_later(request: Transcribe) -> Transcribed:
        if len(server.runtime.requests) > 1:
            raise EngineError("It broke.")
        return await echo(request)

    server.runtime.hear(break_later)
    status, text, _ = await post(server, TRANSCRIBE, form(noise(40.0), ("stream", "true")))
    assert status == 200
    assert events_of(text)[-1]["error"]["code"] == "engine_error"
    status, text, _ = await post(server, TRANSCRIBE, form(noise(40.0)))
    assert (status, json.loads(text)["error"]["message"]) == (500, "It broke.")
    metrics = await (await server.http.get(server.url + "/metrics")).text()
    assert 'llm_requests_failed_total{code="engine_error",model="whisper"} 2.0' in metrics


@pytest.mark.parametrize("response_format", ["json", "srt"])
async def test_a_model_without_timestamps_still_gives_the_text(server: Server, response_format: str) -> None:
    async def untimed(request: Transcribe) -> Transcribed:
        if request.timestamps != "none":
            raise RequestError("This model has no timestamps.", param="timestamps")
        return await echo(request)

    server.runtime.hear(untimed)
    status, text, _ = await post(server, TRANSCRIBE, form(noise(40.0), ("response_format", response_format)))
    if response_format == "json":
        assert (status, text.count("some"), len(server.runtime.requests)) == (200, 2, 3)
    else:
        assert (status, "no timestamps" in text) == (400, True)


@pytest.mark.parametrize("stream", ["true", "false"])
async def test_a_client_that_leaves_ends_the_work_and_the_decoder(server: Server, stream: str) -> None:
    async def one_then_never(request: Transcribe) -> Transcribed:
        if len(server.runtime.requests) > 1:
            await asyncio.sleep(3600)
        return await echo(request)

    server.runtime.hear(one_then_never)
    task = asyncio.create_task(post(server, TRANSCRIBE, form(noise(70.0), ("stream", stream))))
    await until(lambda: len(server.runtime.requests) == 2, timeout_s=20)
    assert len(decoders()) == 1
    task.cancel()
    with pytest.raises((asyncio.CancelledError, ClientPayloadError)):
        await task
    await until(lambda: len(server.runtime.dropped) == 1 and decoders() == [], timeout_s=30)
    counted = b'llm_requests_cancelled_total{model="whisper"} 1.0'
    await until(lambda: counted in server.app[METRICS].text(), timeout_s=30)


async def test_files_take_turns_and_too_many_are_refused(serve: Serve) -> None:
    server = await serve(file_limit=1, file_capacity=1)
    go_on = asyncio.Event()

    async def wait(request: Transcribe) -> Transcribed:
        await go_on.wait()
        return await echo(request)

    server.runtime.hear(wait)
    first, second = (asyncio.create_task(post(server, TRANSCRIBE, form(noise(1.0)))) for _ in range(2))
    await until(lambda: len(server.runtime.requests) == 1, timeout_s=20)
    await until(lambda: server.app[FILE_TURNS].waiting == 1)
    status, text, headers = await post(server, TRANSCRIBE, form(noise(1.0)))
    assert (status, headers["Retry-After"]) == (429, "5")
    assert "files wait to be transcribed" in text
    assert len(decoders()) == 1
    go_on.set()
    assert [(await task)[0] for task in (first, second)] == [200, 200]


async def test_metrics_and_the_log_line_count_a_file_once(hearing: Server, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "agent.access"):
        await answer(hearing, length_s=40.0)
    metrics = await (await hearing.http.get(hearing.url + "/metrics")).text()
    assert 'llm_requests_total{model="whisper"} 1.0' in metrics
    assert 'llm_requests_success_total{model="whisper"} 1.0' in metrics
    assert 'llm_tokens_generated_total{model="whisper"} 14.0' in metrics
    (line,) = [record.getMessage() for record in caplog.records if "audio" in record.getMessage()]
    assert "model=whisper completion_tokens=14" in line
