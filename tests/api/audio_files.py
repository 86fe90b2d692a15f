"""Uploads that the tests make, and an engine that says how much it heard."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

import aiohttp

from agent.runtime.wire.transcription import Segment, Transcribe, Transcribed, Word
from tests.api.conftest import Server
from tests.speech.sounds import wav

RATE_HZ = 8_000
WHOLE_S = 2.048
"""Whole frames of the decoder's."""
TRANSCRIBE, TRANSLATE = "/v1/audio/transcriptions", "/v1/audio/translations"


def noise(length_s: float) -> bytes:
    """A WAV, 16 bit, 8 kHz."""
    return wav(RATE_HZ, data=random.Random(1).randbytes(2 * round(length_s * RATE_HZ)))


def audio_s(request: Transcribe) -> float:
    return len(request.audio) / 4 / 16_000


async def echo(request: Transcribe) -> Transcribed:
    """One segment per piece; its text is how long the piece is, in whole seconds."""
    length_s = audio_s(request)
    words = (
        Word(text=" some", start_s=0.0, end_s=0.5, probability=0.9),
        Word(text=f" {length_s:.0f}.", start_s=0.5, end_s=length_s, probability=0.8),
    )
    return Transcribed(
        id=request.id,
        language=request.language or "de",
        language_probability=0.9,
        audio_s=length_s,
        segments=(
            Segment(
                start_s=0.0,
                end_s=length_s,
                text=f" some {length_s:.0f}.",
                tokens=(5, 6),
                temperature=0.2,
                avg_logprob=-0.5,
                compression_ratio=0.75,
                no_speech_prob=0.125,
                words=words if request.timestamps == "word" else (),
            ),
        ),
        completion_tokens=7,
        encode_s=0.01,
        decode_s=0.02,
    )


def form(audio: bytes | None = None, *fields: tuple[str, str], file_first: bool = True) -> aiohttp.FormData:
    """The multipart body of a transcription, all of its sound taken for speech."""
    data = aiohttp.FormData()

    def add_file() -> None:
        if audio is not None:
            data.add_field("file", audio, filename="talk.wav", content_type="audio/wav")

    if file_first:
        add_file()
    for name, value in (("vad_filter", "false"), *fields):
        data.add_field(name, value)
    if not file_first:
        add_file()
    return data


def multipart(*parts: tuple[str, bytes], boundary: str = "edge", end: bool = True) -> bytes:
    """A body by hand: each part is the rest of its Content-Disposition, and its content."""
    body = b"".join(
        f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + content + b"\r\n"
        for disposition, content in parts
    )
    return body + (f"--{boundary}--\r\n".encode() if end else b"")


def head(length_bytes: int, boundary: str = "edge", path: str = "/v1/audio/transcriptions", **headers: Any) -> bytes:
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary={boundary}\r\n"
        f"{more}Content-Length: {length_bytes}\r\n\r\n"
    ).encode()


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
