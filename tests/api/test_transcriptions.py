"""Files over HTTP: real uploads, real decoding processes, a scripted engine."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientPayloadError
from openai import AsyncOpenAI

from agent.api.parts import FILE_TURNS
from agent.errors import EngineError, QueueFullError, RequestError
from agent.runtime.wire import Transcribe, Transcribed
from benchmarks.process import children
from tests.api.audio_files import audio_s, echo, form, noise
from tests.api.conftest import Serve, Server, until
from tests.speech.sounds import wav

soundfile = pytest.importorskip("soundfile")
np = pytest.importorskip("numpy")
pytest.importorskip("soxr")

WHOLE_S = 2.048
"""Whole frames of the decoder's."""
TRANSCRIBE, TRANSLATE = "/v1/audio/transcriptions", "/v1/audio/translations"


@pytest.fixture
async def hearing(server: Server) -> Server:
    server.runtime.hear(echo)
    return server


async def post(server: Server, path: str, data: Any) -> tuple[int, str, Mapping[str, str]]:
    async with server.http.post(server.url + path, data=data) as response:
        return response.status, await response.text(), response.headers


async def answer(server: Server, *fields: tuple[str, str], path: str = TRANSCRIBE, length_s: float = WHOLE_S) -> Any:
    status, text, _ = await post(server, path, form(noise(length_s), *fields))
    assert status == 200, text
    return json.loads(text)


def events_of(text: str) -> list[Any]:
    assert all(line.startswith("data: ") for line in text.strip().split("\n\n"))
    return [json.loads(data) if data.startswith("{") else data for data in text.strip()[6:].split("\n\ndata: ")]


@pytest.mark.parametrize(
    ("response_format", "content_type", "body"),
    [
        ("json", "application/json", '{"text":"some 2.","usage":{"type":"duration","seconds":3}}'),
        ("text", "text/plain; charset=utf-8", "some 2.\n"),
        ("srt", "text/plain; charset=utf-8", "1\n00:00:00,000 --> 00:00:02,048\nsome 2.\n\n"),
        ("vtt", "text/vtt; charset=utf-8", "WEBVTT\n\n00:00:00.000 --> 00:00:02.048\nsome 2.\n\n"),
    ],
)
async def test_formats(hearing: Server, response_format: str, content_type: str, body: str) -> None:
    data = form(noise(WHOLE_S), ("response_format", response_format), ("model", "whisper"))
    status, text, headers = await post(hearing, TRANSCRIBE, data)
    assert (status, text, headers["Content-Type"]) == (200, body, content_type)


SEGMENT = {
    "id": 0,
    "seek": 0,
    "start": 0.0,
    "end": 2.048,
    "text": " some 2.",
    "tokens": [5, 6],
    "temperature": 0.2,
    "avg_logprob": -0.5,
    "compression_ratio": 0.75,
    "no_speech_prob": 0.125,
}
WORDS = [{"word": "some", "start": 0.0, "end": 0.5}, {"word": "2.", "start": 0.5, "end": 2.048}]


@pytest.mark.parametrize(
    ("fields", "more"),
    [
        ([], {"segments": [SEGMENT]}),
        ([("timestamp_granularities[]", "segment")], {"segments": [SEGMENT]}),
        ([("timestamp_granularities[]", "word")], {"words": WORDS}),
        ([("timestamp_granularities", "word")], {"words": WORDS}),
        (
            [("timestamp_granularities[]", "word"), ("timestamp_granularities[]", "segment")],
            {"segments": [SEGMENT], "words": WORDS},
        ),
    ],
)
async def test_verbose_json_has_what_was_asked_for(
    hearing: Server, fields: list[tuple[str, str]], more: dict[str, Any]
) -> None:
    usage = {"type": "duration", "seconds": 3}
    expected = {
        "task": "transcribe",
        "language": "german",
        "duration": 2.048,
        "text": "some 2.",
        "usage": usage,
        **more,
    }
    assert await answer(hearing, ("response_format", "verbose_json"), *fields) == expected


async def test_a_translation_is_in_english(hearing: Server) -> None:
    verbose = await answer(hearing, ("response_format", "verbose_json"), ("language", "German"), path=TRANSLATE)
    assert (verbose["task"], verbose["language"], verbose["text"]) == ("translate", "english", "some 2.")
    (request,) = hearing.runtime.requests
    assert isinstance(request, Transcribe)
    assert (request.task, request.language) == ("translate", "de")


async def test_times_of_later_pieces_are_the_file_s(hearing: Server) -> None:
    verbose = await answer(
        hearing, ("response_format", "verbose_json"), ("timestamp_granularities[]", "word"), length_s=70.0
    )
    pieces = hearing.runtime.requests
    assert len(pieces) >= 3
    starts = [word["start"] for word in verbose["words"] if word["word"] == "some"]
    lengths = [audio_s(piece) for piece in pieces if isinstance(piece, Transcribe)]
    assert starts == pytest.approx([sum(lengths[:number]) for number in range(len(lengths))], abs=0.01)
    assert verbose["duration"] == pytest.approx(70.0, abs=0.05)


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
async def test_official_client(hearing: Server) -> None:
    async with AsyncOpenAI(base_url=f"{hearing.url}/v1", api_key="none") as client:
        audio = ("talk.wav", noise(WHOLE_S))
        loud: Any = {"vad_filter": "false"}
        plain = await client.audio.transcriptions.create(file=audio, model="whisper", extra_body=loud)
        assert plain.text == "some 2."
        verbose = await client.audio.transcriptions.create(
            file=audio,
            model="whisper",
            response_format="verbose_json",
            timestamp_granularities=["word", "segment"],
            extra_body=loud,
        )
        assert verbose.words is not None
        assert verbose.segments is not None
        assert verbose.usage is not None
        assert ([word.word for word in verbose.words], verbose.segments[0].end) == (["some", "2."], 2.048)
        assert (verbose.language, verbose.duration, verbose.usage.seconds) == ("german", 2.048, 3)
        translated = await client.audio.translations.create(file=audio, model="whisper", extra_body=loud)
        assert translated.text == "some 2."
        stream = await client.audio.transcriptions.create(
            file=("talk.wav", noise(40.0)), model="whisper", stream=True, extra_body=loud
        )
        events = [event async for event in stream]
    assert [event.type for event in events] == [*["transcript.text.delta"] * 2, "transcript.text.done"]
    assert "".join(event.delta for event in events[:-1]) == events[-1].text  # type: ignore[union-attr]


async def test_every_piece_is_sent_as_soon_as_it_is_done(server: Server) -> None:
    go_on = asyncio.Event()

    async def one_then_wait(request: Transcribe) -> Transcribed:
        if len(server.runtime.requests) > 1:
            await go_on.wait()
        return await echo(request)

    server.runtime.hear(one_then_wait)
    data = form(noise(40.0), ("stream", "true"))
    async with server.http.post(server.url + TRANSCRIBE, data=data) as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        first = await response.content.readuntil(b"\n\n")
        go_on.set()
        rest = await response.text()
    events = events_of(first.decode() + rest)
    deltas = [event["delta"] for event in events[:-2]]
    assert deltas[0].startswith("some ")
    assert all(delta.startswith(" some ") for delta in deltas[1:])
    text = "".join(deltas)
    assert events[-2:] == [
        {"type": "transcript.text.done", "text": text, "usage": {"type": "duration", "seconds": 40}},
        "[DONE]",
    ]


async def test_a_verbose_stream_ends_with_everything(hearing: Server) -> None:
    data = form(noise(WHOLE_S), ("stream", "true"), ("response_format", "verbose_json"))
    _, text, _ = await post(hearing, TRANSCRIBE, data)
    done = events_of(text)[-2]
    assert (done["type"], done["language"], done["segments"]) == ("transcript.text.done", "german", [SEGMENT])


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ((), {"language": None, "temperatures": (0.0, 0.2, 0.4, 0.6, 0.8, 1.0), "beam_size": 1}),
        ((("temperature", "0.0"), ("language", "")), {"temperatures": (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)}),
        ((("temperature", "0.5"),), {"temperatures": (0.5, 0.7, 0.9)}),
        ((("temperature", "1"),), {"temperatures": (1.0,)}),
        ((("language", "Finnish"), ("beam_size", "5")), {"language": "fi", "beam_size": 5}),
        ((("prompt", "Über Größe"), ("hotwords", "Ada, Bob")), {"prompt": "Über Größe", "hotwords": "Ada, Bob"}),
        ((("hotwords", "Ada"), ("keywords[]", "Bob"), ("keywords[]", "Eve")), {"hotwords": "Ada, Bob, Eve"}),
        ((("chunking_strategy", "auto"), ("user", "me")), {"task": "transcribe"}),
    ],
)
async def test_fields_reach_the_engine(
    hearing: Server, fields: tuple[tuple[str, str], ...], expected: dict[str, Any]
) -> None:
    await answer(hearing, *fields)
    (request,) = hearing.runtime.requests
    assert {name: getattr(request, name) for name in expected} == expected


async def test_priority_and_deadline_hold_for_the_first_piece(hearing: Server) -> None:
    await answer(hearing, ("priority", "high"), ("deadline_s", "3"), length_s=40.0)
    assert [(one[2].name, one[3]) for one in hearing.runtime.submissions] == [("HIGH", 3.0), ("HIGH", 86_400.0)]


@pytest.mark.parametrize("file_first", [True, False])
async def test_fields_come_in_any_order(hearing: Server, file_first: bool) -> None:
    data = form(noise(WHOLE_S), ("response_format", "text"), file_first=file_first)
    assert (await post(hearing, TRANSCRIBE, data))[:2] == (200, "some 2.\n")


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ([("languge", "de")], "languge", "Did you mean `language`?"),
        ([("audio", "x")], "audio", "Did you mean `file`?"),
        ([("temperature", "2")], "temperature", "a number from 0 to 1"),
        ([("temperature", "nan")], "temperature", "a number from 0 to 1"),
        ([("response_format", "xml")], "response_format", "json, text, srt, vtt or verbose_json"),
        ([("stream", "perhaps")], "stream", "true or false"),
        ([("stream", "true"), ("response_format", "srt")], "response_format", "where `stream` is true"),
        ([("beam_size", "50")], "beam_size", "an integer from 1 to 5"),
        ([("language", "germn")], "language", "Did you mean german?"),
        ([("model", "a"), ("model", "b")], "model", "`model` is there 2 times"),
        ([("timestamp_granularities[]", "word")], "timestamp_granularities", "needs verbose_json"),
        ([("include[]", "logprobs")], "include", "is not supported"),
        ([("priority", "urgent")], "priority", "high, normal or low"),
        ([("prompt", "x" * 70_000)], "prompt", "longer than 65536 bytes"),
        ([("model", "tiny")], "model", "org/tiny generates text. There is whisper."),
        ([("model", "whisper-9")], "model", "Did you mean whisper?"),
    ],
)
async def test_wrong_fields_are_named(hearing: Server, fields: list[tuple[str, str]], param: str, message: str) -> None:
    status, text, _ = await post(hearing, TRANSCRIBE, form(noise(0.5), *fields))
    error = json.loads(text)["error"]
    assert status in (400, 404, 413)
    assert error["param"] == param
    assert message in error["message"]
    assert hearing.runtime.requests == []


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
    assert children(os.getpid()) == []


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
    assert len(children(os.getpid())) == 1
    task.cancel()
    with pytest.raises((asyncio.CancelledError, ClientPayloadError)):
        await task
    await until(lambda: len(server.runtime.dropped) == 1 and children(os.getpid()) == [], timeout_s=5)
    metrics = await (await server.http.get(server.url + "/metrics")).text()
    assert 'llm_requests_cancelled_total{model="whisper"} 1.0' in metrics


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
    assert len(children(os.getpid())) == 1
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
