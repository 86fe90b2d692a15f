"""The cost of a streamed token above the runtime, and that events arrive as soon as they happen."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterator

import pytest

from agent.api.chat import ChatChunks
from agent.runtime.stream import Stream
from agent.runtime.wire.generation import Delta, Generate
from tests.api.conftest import Server, chat_request
from tests.api.scripted_runtime import SCRIPTS, TEXT, WORDS, finish

TOKENS = 4000


async def test_a_token_costs_little(server: Server) -> None:
    """One event, one chunk, one write per token: what a single client at full speed costs the daemon."""
    spent: list[float] = []

    async def burst(stream, request) -> None:  # type: ignore[no-untyped-def]
        start = time.process_time()
        for _ in range(TOKENS):
            stream.push(Delta(id=request.id, text=" token", tokens=1))
            await asyncio.sleep(0)
        finish(stream, request, 0, TOKENS, "stop")
        stream.finish()
        spent.append(time.process_time() - start)

    SCRIPTS["BURST"] = burst
    try:
        best_s = float("inf")
        for _ in range(3):
            reader, writer = await server.raw(chat_request("BURST", extra="Connection: close\r\n"))
            await reader.read()
            writer.close()
            best_s = min(best_s, spent[-1] / TOKENS)
    finally:
        del SCRIPTS["BURST"]
    assert best_s < 200e-6, f"{best_s * 1e6:.0f} µs, the reading client included"


def test_chunks_are_prepared() -> None:
    chunks = ChatChunks("id", "model", 1, with_usage=False)
    delta = Delta(id=1, text=" token", tokens=1)
    spent_s = []
    for _ in range(3):
        start = time.process_time()
        for _ in range(10_000):
            chunks.delta(0, delta)
        spent_s.append(time.process_time() - start)
    assert min(spent_s) / 10_000 < 10e-6


@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
async def test_each_word_comes_when_it_is_said_and_all_make_the_text(server: Server, version: bytes) -> None:
    """Also for a client without chunks, to whom the end of the connection is the end of the answer."""
    request = chat_request("SLOWLY", extra="Connection: close\r\n").replace(b"HTTP/1.1", version)
    reader, writer = await server.raw(request)
    head = await reader.readuntil(b"\r\n\r\n")
    assert (b"Transfer-Encoding: chunked" in head) == (version == b"HTTP/1.1")
    reads: list[bytes] = []
    while data := await reader.read(65536):
        reads.append(data)
    writer.close()
    body = b"".join(reads)
    if version == b"HTTP/1.1":
        body = b"".join(chunks_of(body))
    *events, end = [line.removeprefix("data: ") for line in body.decode().split("\n\n") if line]
    assert end == "[DONE]"
    assert "".join(json.loads(line)["choices"][0]["delta"].get("content", "") for line in events) == TEXT
    assert len([data for data in reads if b'"content":' in data]) >= len(WORDS) - 1


async def test_who_reads_late_gets_everything_in_order(server: Server) -> None:
    """What does not fit into the socket is waited for, and what comes meanwhile queues behind it."""

    async def flood(stream: Stream, request: Generate) -> None:
        for number in range(600):
            stream.push(Delta(id=request.id, text=f"{number:06d}" + "x" * 20_000, tokens=1))
            await asyncio.sleep(0.001)
        finish(stream, request, 0, 600, "stop")
        stream.finish()

    SCRIPTS["FLOOD"] = flood
    try:
        reader, writer = await server.raw(chat_request("FLOOD", extra="Connection: close\r\n"))
        await asyncio.sleep(1)
        body = b"".join(chunks_of((await reader.read()).partition(b"\r\n\r\n")[2]))
        writer.close()
    finally:
        del SCRIPTS["FLOOD"]
    assert [int(number) for number in re.findall(rb'"content":"(\d{6})x', body)] == list(range(600))


def chunks_of(body: bytes) -> Iterator[bytes]:
    """The chunks of a chunked body; the last one has to be there."""
    at = 0
    while True:
        start = body.index(b"\r\n", at) + 2
        end = start + int(body[at : start - 2], 16)
        at = end + 2
        assert body[end:at] == b"\r\n"
        if start == end:
            assert at == len(body)
            return
        yield body[start:end]


async def test_events_of_one_tick_are_one_write(server: Server) -> None:
    reader, _ = await server.raw(chat_request())
    await reader.readuntil(b"\r\n\r\n")
    sizes = 0
    while (size := int(await reader.readline(), 16)) > 0:
        chunk = await reader.readexactly(size + 2)
        assert chunk.startswith(b"data: ")
        assert chunk.endswith(b"\n\n\r\n")
        sizes += 1
    assert sizes <= 6
