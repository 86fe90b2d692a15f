"""Files over HTTP: real uploads, real decoding processes, a scripted engine."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from openai import AsyncOpenAI

from agent.runtime.wire.transcription import Transcribe, Transcribed
from tests.api.audio_files import TRANSCRIBE, TRANSLATE, WHOLE_S, answer, audio_s, echo, events_of, form, noise, post
from tests.api.conftest import Server


@pytest.fixture
async def hearing(server: Server) -> Server:
    server.runtime.hear(echo)
    return server


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
        ([("fil", "x")], "fil", 'Unknown field "fil". Did you mean `file`?'),
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
