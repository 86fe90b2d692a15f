"""Uploads that are broken, too large, too slow, or lose their client: over real connections."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.api import upload
from tests.api.audio_files import echo, form, head, multipart, noise
from tests.api.conftest import Serve, Server, until

pytest.importorskip("soundfile")
pytest.importorskip("soxr")

FILE = 'name="file"; filename="a.wav"'
LOUD = ('name="vad_filter"', b"false")
TRANSCRIBE = "/v1/audio/transcriptions"


@pytest.fixture
async def hearing(serve: Serve, tmp_path: Path) -> Server:
    server = await serve(upload_folder=tmp_path, audio_limit_bytes=200_000, body_timeout_s=0.4)
    server.runtime.hear(echo)
    return server


async def raw(server: Server, data: bytes) -> tuple[int, Any]:
    """Status and JSON of what is answered to `data`, which need not be all of a request."""
    reader, writer = await server.raw(data)
    try:
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
        headers = {key.lower(): value for key, _, value in (line.partition(b": ") for line in answer.split(b"\r\n"))}
        body = await asyncio.wait_for(reader.readexactly(int(headers[b"content-length"])), 5)
        return int(answer.split()[1]), json.loads(body)
    finally:
        writer.close()


def request(body: bytes, **headers: Any) -> bytes:
    return head(len(body), **headers) + body


@pytest.mark.filterwarnings("ignore::aiohttp.BadContentDispositionHeader")
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "Could not find starting boundary"),
        (b"hello\r\n" * 10, "Could not find starting boundary"),
        (multipart((FILE, noise(0.1)), end=False), "The multipart body is broken"),
        (multipart((FILE, noise(0.1)), boundary="other"), "Could not find starting boundary"),
        (multipart((FILE, noise(0.1)))[:-30], "The multipart body is broken"),
        (b"--edge\r\nContent-Disposition: form-data; " + FILE.encode(), "The multipart body is broken"),
        (b"--edge\r\n" + b"x" * 20_000 + b": y\r\n\r\n--edge--\r\n", "The multipart body is broken"),
        (b"--edge\r\n" + b"x: y\r\n" * 200 + b"\r\n--edge--\r\n", "The multipart body is broken"),
        (multipart(("", b"x")), "A part of the body has no name"),
        (b"--edge\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b--\r\n--edge--\r\n", "has no name"),
        (multipart(LOUD), "`file` is missing"),
        (multipart((FILE, b"")), "The audio file is empty"),
        (multipart((FILE, noise(0.1)), (FILE, noise(0.1))), "`file` is there twice"),
        (multipart(*[LOUD] * 100), "more than 64 parts"),
        (multipart((FILE, noise(0.1)), ('name="prompt"', b"\xff\xfe")), "`prompt` is not UTF-8 text (byte 0)"),
        (multipart((f"{FILE}\r\nContent-Transfer-Encoding: base64", b"UklGRg==")), "`file` is sent as 'base64'"),
    ],
)
async def test_a_broken_body_is_an_error_that_says_how(hearing: Server, body: bytes, message: str) -> None:
    status, answer = await raw(hearing, request(body))
    assert status == 400
    assert message in answer["error"]["message"]
    assert hearing.runtime.requests == []


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data", "audio/wav", ""])
async def test_another_kind_of_body_is_refused_with_an_example(hearing: Server, kind: str) -> None:
    status, answer, _ = await hearing.post(TRANSCRIBE, b'{"model": "whisper"}', Content_Type=kind)
    assert status == 400
    assert any(words in answer["error"]["message"] for words in ("-F file=@recording.wav", "boundary"))


async def test_a_file_without_a_file_s_name_is_one_too(hearing: Server) -> None:
    status, answer = await raw(hearing, request(multipart(LOUD, ('name="file"', noise(1.024)))))
    assert (status, answer["text"]) == (200, "some 1.")


@pytest.mark.parametrize("name", ["fil", "audio", "files[]"])
async def test_a_file_by_another_name_is_told_what_it_is_called_before_it_is_read(hearing: Server, name: str) -> None:
    part = (f'name="{name}"; filename="a.wav"', noise(1.0) + bytes(100_000))
    status, answer = await raw(hearing, request(multipart(part)))
    meant = name.removesuffix("[]")
    assert (status, answer["error"]["param"]) == (400, meant)
    assert answer["error"]["message"] == f'Unknown field "{meant}". Did you mean `file`?'


@pytest.mark.parametrize("announced", [True, False])
async def test_a_file_that_is_too_large_is_413(hearing: Server, announced: bool) -> None:
    size = 600_000 if announced else 250_000
    data = form(bytes(size))
    async with hearing.http.post(hearing.url + TRANSCRIBE, data=data) as response:
        answer = await response.json()
    assert (response.status, answer["error"]["code"]) == (413, "request_too_large")
    assert "raise max_audio_mb" in answer["error"]["message"]


async def test_what_is_left_of_a_refused_body_is_not_taken_for_another_request(hearing: Server) -> None:
    reader, writer = await hearing.raw(head(10_000_000))
    assert b" 413 " in await asyncio.wait_for(reader.readuntil(b"}}"), 5)
    for _ in range(40):
        writer.write(b"x" * 1000)
        await writer.drain()
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), 10) == b""


async def test_max_body_mb_does_not_hold_for_audio(serve: Serve, tmp_path: Path) -> None:
    server = await serve(upload_folder=tmp_path, body_limit_bytes=1000)
    server.runtime.hear(echo)
    async with server.http.post(server.url + TRANSCRIBE, data=form(noise(2.048))) as response:
        assert response.status == 200


async def test_a_slow_upload_may_go_on_as_long_as_something_comes(hearing: Server) -> None:
    body = multipart(LOUD, (FILE, noise(12.0)))
    assert len(body) > 2 * upload.PROGRESS_BYTES

    async def trickle() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 40_000):
            yield body[start : start + 40_000]
            await asyncio.sleep(0.15)

    headers = {"Content-Type": "multipart/form-data; boundary=edge"}
    async with hearing.http.post(hearing.url + TRANSCRIBE, data=trickle(), headers=headers) as response:
        assert (response.status, (await response.json())["text"]) == (200, "some 12.")


@pytest.mark.parametrize("sent", [0, 30, 2_000])
async def test_an_upload_that_stalls_is_408(hearing: Server, sent: int) -> None:
    body = multipart(LOUD, (FILE, noise(1.0)))
    status, answer = await raw(hearing, head(len(body)) + body[:sent])
    assert (status, answer["error"]["code"]) == (408, "request_timeout")


@pytest.mark.parametrize("announced", [True, False])
async def test_a_full_disk_is_507(hearing: Server, monkeypatch: pytest.MonkeyPatch, announced: bool) -> None:
    monkeypatch.setattr(upload, "MARGIN_BYTES", 2**62)
    body = multipart(LOUD, (FILE, noise(1.0)))
    if announced:
        status, answer = await raw(hearing, request(body))
    else:
        chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        start = head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        status, answer = await raw(hearing, start + chunked)
    assert (status, answer["error"]["code"]) == (507, "disk_full")
    assert "no room for the upload" in answer["error"]["message"]


async def test_a_folder_that_is_not_there_is_our_fault(serve: Serve, tmp_path: Path) -> None:
    server = await serve(upload_folder=tmp_path / "missing")
    status, answer = await raw(server, request(multipart((FILE, noise(0.1)))))
    assert (status, answer["error"]["code"]) == (500, "store_error")


async def test_the_file_has_no_name_on_the_disk_and_goes_with_its_client(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "_WRITE_BYTES", 10_000)
    server = await serve(upload_folder=tmp_path)
    before = _open_files()
    body = multipart(LOUD, (FILE, noise(60.0)))
    _, writer = await server.raw(head(len(body)) + body[: len(body) // 2])
    await until(lambda: _held_bytes(tmp_path) > 200_000)
    assert _named_files(tmp_path) == []
    writer.close()
    await until(lambda: _held_bytes(tmp_path) == 0)
    await until(lambda: _open_files() == before)


def _named_files(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.is_file()]


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _held_bytes(folder: Path) -> int:
    """Size of the files without a name in `folder` that this process has open."""
    held = 0
    for link in Path("/proc/self/fd").iterdir():
        try:
            if str(link.readlink()).startswith(str(folder)) and "(deleted)" in str(link.readlink()):
                held += link.stat().st_size
        except FileNotFoundError:
            continue
    return held
