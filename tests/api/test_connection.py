"""What a client can do below HTTP: be slow, be large, be many, go away."""

from __future__ import annotations

import asyncio
import json
import time
from typing import cast

import pytest

from tests.api.conftest import Serve, Server, chat_request, until

GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and everything after the head, up to the end of the connection."""
    data = await asyncio.wait_for(reader.read(), 20)
    head, _, body = data.partition(b"\r\n\r\n")
    return (int(head.split()[1]) if head else 0), body


async def test_slow_loris_is_closed(serve: Serve) -> None:
    server = await serve(head_timeout_s=0.3)
    reader, writer = await server.raw(b"GET /health HTTP/1.1\r\nHost: localhost\r\n")
    start = time.monotonic()

    async def drip() -> None:
        while True:
            writer.write(b"X-A: b\r\n")
            await asyncio.sleep(0.05)

    dripping = asyncio.create_task(drip())
    status, body = await answer(reader)
    dripping.cancel()
    assert 0.2 < time.monotonic() - start < 10
    assert (status, json.loads(body)["error"]["code"]) == (408, "request_timeout")
    await until(lambda: server.app_connections() == 0)


async def test_connection_that_says_nothing_is_closed(serve: Serve) -> None:
    server = await serve(head_timeout_s=0.2)
    for opening in (b"", b"\r\n"):
        reader, _ = await server.raw(opening)
        assert await answer(reader) == (0, b"")


async def test_slow_loris_on_the_second_request_is_closed(serve: Serve) -> None:
    server = await serve(head_timeout_s=0.3)
    reader, writer = await server.raw(GET)
    await reader.readuntil(b'{"status":"ok"}')
    await asyncio.sleep(0.5)
    writer.write(GET)
    await reader.readuntil(b'{"status":"ok"}')
    writer.write(b"GET /health HT")
    status, _ = await answer(reader)
    assert status == 408


async def test_idle_connection_is_closed_after_keep_alive(serve: Serve) -> None:
    server = await serve(keep_alive_s=0.2)
    reader, _ = await server.raw(GET)
    await reader.readuntil(b'{"status":"ok"}')
    assert await asyncio.wait_for(reader.read(), 20) == b""


async def test_slow_body_is_closed(serve: Serve) -> None:
    server = await serve(body_timeout_s=0.3)
    reader, writer = await server.raw(chat_request()[:-10])
    data = await asyncio.wait_for(reader.readuntil(b"}}"), 20)
    assert b" 408 " in data
    assert b"Connection: close" in data
    writer.close()


@pytest.mark.parametrize("pieces", [1, 400])
async def test_large_head_is_refused(serve: Serve, pieces: int) -> None:
    server = await serve(head_limit_bytes=16 * 1024)
    head = b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + b"".join(
        b"X-%d: %s\r\n" % (i, b"y" * 500) for i in range(40)
    )
    reader, writer = await server.raw(b"")
    step = len(head) // pieces + 1
    for start in range(0, len(head), step):
        writer.write(head[start : start + step])
        await asyncio.sleep(0)
    status, body = await answer(reader)
    assert (status, json.loads(body)["error"]["code"]) == (431, "headers_too_large")


async def test_one_long_header_is_refused(server: Server) -> None:
    reader, _ = await server.raw(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 9000 + b"\r\n\r\n")
    assert (await answer(reader))[0] == 400


async def test_head_split_anywhere_is_understood(server: Server) -> None:
    for cut in range(1, len(GET)):
        reader, writer = await server.raw(GET[:cut])
        await asyncio.sleep(0.001)
        writer.write(GET[cut:])
        await asyncio.wait_for(reader.readuntil(b'{"status":"ok"}'), 20)
        writer.close()


async def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    reader, _ = await server.raw(GET + GET.replace(b"/health", b"/nowhere") + GET)
    text = b""
    while text.count(b"X-Request-Id") < 3 or not text.endswith(b"}"):
        text += await asyncio.wait_for(reader.read(4096), 20)
    assert [part[:3] for part in text.split(b"HTTP/1.1 ")[1:]] == [b"200", b"404", b"200"]


async def test_large_body_is_refused_before_it_is_read(serve: Serve) -> None:
    server = await serve(body_limit_bytes=1000)
    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
    reader, writer = await server.raw(head + b"Content-Length: 1001\r\n\r\n")
    data = await asyncio.wait_for(reader.readuntil(b"}}"), 20)
    assert b" 413 " in data
    assert b"larger than 1000 bytes" in data
    writer.close()
    chunk = b"190\r\n" + b"x" * 400 + b"\r\n"
    reader, writer = await server.raw(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 3)
    assert b" 413 " in await asyncio.wait_for(reader.readuntil(b"}}"), 20)
    writer.close()


async def test_malformed_http_is_answered_and_logged_in_one_line(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    for garbage in (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"GET / HTTP/1.1\r\nbad header\r\n\r\n"):
        reader, _ = await server.raw(garbage)
        assert (await answer(reader))[0] in (0, 400)
    assert "Traceback" not in caplog.text


async def test_too_many_connections_are_turned_away(serve: Serve) -> None:
    server = await serve(connection_limit=3)
    held = [await server.raw(b"") for _ in range(3)]
    await until(lambda: server.app_connections() == 3)
    reader, _ = await server.raw(GET)
    status, body = await answer(reader)
    assert (status, json.loads(body)["error"]["code"]) == (503, "unavailable")
    held[0][1].close()
    await until(lambda: server.app_connections() == 2)
    reader, _ = await server.raw(GET)
    assert b"200 OK" in await asyncio.wait_for(reader.readuntil(b'{"status":"ok"}'), 20)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("abort", [True, False])
async def test_client_leaving_during_prefill_cancels_at_once(server: Server, stream: bool, abort: bool) -> None:
    _, writer = await server.raw(chat_request("SILENT", stream=stream))
    await until(lambda: server.runtime.running == 1)
    await asyncio.sleep(0.02)
    writer.transport.abort() if abort else writer.close()
    assert await until(lambda: server.runtime.running == 0) < 0.3
    assert len(server.runtime.dropped) == 1


async def test_client_leaving_in_mid_stream_cancels_at_once(server: Server) -> None:
    reader, writer = await server.raw(chat_request("FOREVER"))
    await reader.readexactly(10_000)
    writer.transport.abort()
    assert await until(lambda: server.runtime.running == 0) < 0.3


async def test_client_that_does_not_read_is_cut_off(serve: Serve) -> None:
    server = await serve(write_timeout_s=0.5)
    _, writer = await server.raw(chat_request("FOREVER"))
    cast(asyncio.Transport, writer.transport).pause_reading()
    await until(lambda: server.runtime.running == 1)
    await until(lambda: server.runtime.running == 0, timeout_s=60)
    await until(lambda: server.app_connections() == 0)


async def test_many_at_once_each_get_an_answer(server: Server) -> None:
    server.runtime.capacity = 32

    async def one() -> int:
        reader, writer = await server.raw(chat_request("SLOWLY", extra="Connection: close\r\n"))
        status, body = await answer(reader)
        writer.close()
        assert status == 429 or b"data: [DONE]" in body
        return status

    statuses = await asyncio.gather(*(one() for _ in range(300)))
    assert set(statuses) == {200, 429}
    assert statuses.count(200) >= 32
