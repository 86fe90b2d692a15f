"""The cost of a streamed token above the runtime, and that events arrive as soon as they happen."""

from __future__ import annotations

import asyncio
import time

from agent.api.chat import ChatChunks
from agent.runtime.wire.generation import Delta
from tests.api.conftest import Server, chat_request
from tests.api.scripted_runtime import SCRIPTS, finish

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
