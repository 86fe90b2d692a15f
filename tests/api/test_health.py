from __future__ import annotations

import asyncio
import json
import os

from tests.api.conftest import Server, chat_request, until


async def test_healthy(server: Server) -> None:
    assert (await server.get("/health"))[:2] == (200, {"status": "ok"})


async def test_status_shows_everything(server: Server) -> None:
    status, answer, _ = await server.get("/status")
    assert status == 200
    assert (answer["status"], answer["version"], answer["pid"]) == ("ok", "9.9.9", os.getpid())
    assert answer["uptime_s"] >= 0
    assert answer["profile"] == {"name": "pi5"}
    assert answer["board"] == {"model": "Raspberry Pi 5"}
    assert answer["http"]["connections"] == 1
    assert answer["runtime"]["queue"]["waiting"] == 3
    assert answer["runtime"]["ledger"]["budget_bytes"] == 10**9
    assert [model["name"] for model in answer["runtime"]["models"]] == ["org/tiny", "vectors"]


async def test_shutdown_refuses_new_requests_and_finishes_running_ones(server: Server) -> None:
    reader, _ = await server.raw(chat_request("SLOWLY"))
    await until(lambda: server.runtime.running == 1)
    idle_reader, idle = await server.raw(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await idle_reader.readuntil(b'{"status":"ok"}')
    server.listener.refuse()
    assert (await server.get("/health"))[:2] == (503, {"status": "shutting_down"})
    status, answer, headers = await server.chat()
    assert (status, answer["error"]["code"]) == (503, "shutting_down")
    assert "Retry-After" in headers
    idle.write(chat_request())
    assert b" 503 " in await asyncio.wait_for(idle_reader.readuntil(b"}}"), 20)
    closing = asyncio.create_task(server.listener.close(grace_s=5))
    text = await asyncio.wait_for(reader.read(), 20)
    assert b"data: [DONE]" in text
    assert await closing is True


async def test_shutdown_does_not_wait_for_ever(server: Server) -> None:
    reader, _ = await server.raw(chat_request("SILENT"))
    await server.raw(b"GET /heal")
    await until(lambda: server.runtime.running == 1)
    async with asyncio.timeout(20):
        assert await server.listener.close(grace_s=0.1) is False
    assert await asyncio.wait_for(reader.read(), 20) == b""
    assert server.runtime.running == 0


async def test_runtime_that_stops_first_ends_streams_with_an_error(server: Server) -> None:
    server.runtime.stopping = True
    status, answer, _ = await server.chat(stream=True)
    assert (status, json.dumps(answer["error"]["code"])) == (503, '"shutting_down"')
