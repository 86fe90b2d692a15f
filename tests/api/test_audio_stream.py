"""A client's own sound over a WebSocket: texts come back, nothing is lost, and nobody can hold the device up."""

from __future__ import annotations

import asyncio
import logging
import sys
import wave
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agent.api.parts import CONNECTIONS
from agent.errors import MemoryBudgetError, RequestError, ShuttingDownError
from agent.runtime.queue import Priority
from agent.runtime.wire.transcription import Transcribe, Transcribed
from tests.api.conftest import Serve, Server, until
from tests.api.stream_client import BINARY, CLOSE, PING, PONG, TEXT, Hearing, RawClient, connect, refused, rest
from tests.speech.sounds import silence, tone

FINISH = '{"type": "finish"}'
PAGE = (Path(__file__).resolve().parents[2] / "docs" / "http.md").read_text("utf-8")
COMMAND = tone(1.0) + silence(0.8)


@pytest.fixture
def hearing(server: Server) -> Hearing:
    found = Hearing()
    server.runtime.hear(found)
    return found


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events if event["type"] not in ("level", "partial")]


def finals(events: list[dict[str, Any]]) -> list[str]:
    return [event["text"] for event in events if event["type"] == "final"]


def streams(server: Server) -> int:
    return server.app[CONNECTIONS].streams.active


async def test_what_is_said_comes_back_in_order_and_then_the_end(server: Server, hearing: Hearing) -> None:
    async with await connect(server) as socket:
        for start in range(0, len(COMMAND) * 2, 3200):
            await socket.send_bytes((COMMAND * 2)[start : start + 3200])
        await socket.send_str(FINISH)
        events = await rest(socket)
    assert kinds(events) == ["speech_start", "speech_end", "final"] * 2 + ["end"]
    assert finals(events) == ["yes", "yes"]
    assert [event["segment"] for event in events if event["type"] == "final"] == [0, 1]
    assert any(event["type"] == "level" and event["speech"] for event in events)
    assert socket.close_code == 1000
    await until(lambda: streams(server) == 0)
    assert server.runtime.kept == []


async def test_nothing_said_is_only_an_end(server: Server, hearing: Hearing) -> None:
    for sound in (b"", bytes(2), silence(1.0)):
        async with await connect(server, "?level=0") as socket:
            await socket.send_bytes(sound)
            await socket.send_str(FINISH)
            assert await rest(socket) == [{"type": "end"}]
    assert hearing.requests == []


async def test_speech_up_to_the_last_sample_is_transcribed(server: Server, hearing: Hearing) -> None:
    async with await connect(server, "?level=false") as socket:
        await socket.send_bytes(tone(1.0))
        await socket.send_str(FINISH)
        events = await rest(socket)
    assert finals(events) == ["yes"]
    assert events[-2]["reason"] == "end"
    assert not [event for event in events if event["type"] == "level"]


async def test_the_query_reaches_the_model(server: Server, hearing: Hearing) -> None:
    query = "?model=whisper&language=German&prompt=Good%20morning.&hotwords=Ada,%20Bob&level="
    async with await connect(server, query) as socket:
        await socket.send_bytes(COMMAND)
        await socket.send_str(FINISH)
        await rest(socket)
    request = hearing.requests[-1]
    assert (request.language, request.prompt, request.hotwords) == ("de", "Good morning.", "Ada, Bob")


async def test_finals_go_before_partials(server: Server, hearing: Hearing) -> None:
    async with await connect(server) as socket:
        await socket.send_bytes(tone(2.0))
        await until(lambda: len(hearing.requests) > 0)
        await socket.send_str(FINISH)
        await rest(socket)
    ranks = [sent[2] for sent in server.runtime.submissions]
    partials = [len(request.temperatures) == 1 for request in hearing.requests]
    assert ranks == [Priority.NORMAL if partial else Priority.HIGH for partial in partials]
    assert set(partials) == {True, False}


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ("?lang=de", 400, 'Unknown field "lang". Did you mean `language`?'),
        ("?modell=whisper", 400, "Did you mean `model`?"),
        ("?level=loud", 400, '`level` is "loud"; expected 1 or 0.'),
        ("?prompt=" + "x" * 4001, 400, "expected a string of at most 4000 characters"),
        ("?language=klingonian", 400, "There is no language 'klingonian'"),
        ("?model=whisper&model=tiny", 400, "`model` is there more than once"),
        ("?model=wisper", 404, "Did you mean whisper?"),
        ("?model=tiny", 400, "org/tiny generates text. There is whisper."),
    ],
)
async def test_a_wrong_request_is_refused_before_the_upgrade(
    server: Server, hearing: Hearing, query: str, status: int, said: str
) -> None:
    found, error, _ = await refused(server, query)
    assert found == status
    assert said in error["message"]


async def test_without_a_model_that_transcribes_there_is_no_stream(server: Server) -> None:
    status, error, _ = await refused(server)
    assert (status, error["param"]) == (404, "model")


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"Upgrade": "h2c"}, "This is a WebSocket"),
        ({"Sec_WebSocket_Version": "99"}, "handshake is broken"),
        ({"Sec_WebSocket_Key": "short"}, "handshake is broken"),
        ({"Sec_WebSocket_Protocol": "chat, edge-agent.key.c2VjcmV0"}, "Offer edge-agent"),
    ],
)
async def test_a_broken_handshake_is_an_error_and_no_key_is_logged(
    server: Server, hearing: Hearing, headers: dict[str, str], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    status, error, _ = await refused(server, **headers)
    assert status == 400
    assert said in error["message"]
    assert "c2VjcmV0" not in caplog.text


@pytest.mark.parametrize(
    ("kind", "payload", "first", "code", "said"),
    [
        (BINARY, b"abc", 0x80, 1007, "not 16-bit PCM: the number of bytes is odd"),
        (TEXT, b"stop", 0x80, 1003, "The text message 'stop' is not understood"),
        (TEXT, b"\xff\xfe", 0x80, 1007, "not UTF-8"),
        (BINARY, bytes(1024 * 1024 + 2), 0x80, 1009, "larger than 1048576 bytes"),
        (BINARY, bytes(100), 0xC0, 1002, "does not keep to the WebSocket protocol"),  # compressed: never agreed on
        (0, bytes(100), 0x80, 1002, "does not keep to the WebSocket protocol"),
        (7, bytes(100), 0x80, 1002, "does not keep to the WebSocket protocol"),
    ],
)
async def test_a_message_that_makes_no_sense_ends_the_stream_after_what_was_said(
    server: Server, hearing: Hearing, kind: int, payload: bytes, first: int, code: int, said: str
) -> None:
    client = await RawClient.open(server, "?level=0")
    client.send(BINARY, COMMAND)
    client.send(kind, payload, first=first)
    events, closed = await client.rest()
    assert finals(events) == ["yes"]
    assert (events[-1]["type"], events[-1]["segment"]) == ("error", None)
    assert said in events[-1]["message"]
    assert closed == code
    client.writer.close()
    await until(lambda: streams(server) == 0)


async def test_the_largest_message_is_taken(server: Server, hearing: Hearing) -> None:
    async with await connect(server, "?level=0") as socket:
        await socket.send_bytes(COMMAND + bytes(1024 * 1024 - len(COMMAND)))
        await socket.send_str(FINISH)
        assert finals(await rest(socket)) == ["yes"]


async def test_sound_after_the_end_is_not_dropped_in_silence(server: Server, hearing: Hearing) -> None:
    hearing.allowed.clear()
    async with await connect(server, "?level=0") as socket:
        await socket.send_bytes(tone(1.0))
        await socket.send_str(FINISH)
        await socket.send_bytes(tone(1.0))
        await until(lambda: len(hearing.requests) > 0)
        hearing.allowed.set()
        events = await rest(socket)
    assert finals(events) == ["yes"]
    assert "after `finish`" in events[-1]["message"]
    assert socket.close_code == 1008


async def test_a_client_that_is_too_fast_waits_and_loses_nothing(server: Server, hearing: Hearing) -> None:
    """20 MB at once, with an engine that stands still, and then goes on."""
    hearing.allowed.clear()
    sent, count = 0, 340
    async with await connect(server, "?level=0") as socket:

        async def send() -> None:
            nonlocal sent
            for _ in range(count):
                await socket.send_bytes(COMMAND)
                sent += len(COMMAND)
            await socket.send_str(FINISH)

        sending = asyncio.create_task(send())
        await until(lambda: len(hearing.requests) > 0)
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.2)
        assert sent < 10_000_000
        hearing.allowed.set()
        async with asyncio.timeout(60):
            texts = [message async for message in socket if '"final"' in message.data]
        await sending
    assert len(texts) == count


async def test_a_client_that_vanishes_frees_the_worker(server: Server, hearing: Hearing) -> None:
    hearing.allowed.clear()
    client = await RawClient.open(server)
    client.send(BINARY, COMMAND)
    await until(lambda: server.runtime.running == 1)
    client.writer.transport.abort()
    await until(lambda: server.runtime.running == 0 and streams(server) == 0)
    assert len(server.runtime.dropped) == len(hearing.requests)


@pytest.mark.parametrize("finished", [False, True])
async def test_a_client_that_closes_gets_its_close_back_and_frees_the_worker(
    server: Server, hearing: Hearing, finished: bool
) -> None:
    hearing.allowed.clear()
    client = await RawClient.open(server, "?level=0")
    client.send(BINARY, COMMAND)
    if finished:
        client.send(TEXT, FINISH.encode())
    await until(lambda: server.runtime.running == 1)
    client.send(CLOSE, b"\x03\xe8")
    _, code = await client.rest()
    assert code == 1000
    await until(lambda: server.runtime.running == 0 and streams(server) == 0)


async def test_a_client_that_does_not_read_is_cut_off(serve: Serve) -> None:
    server = await serve(write_timeout_s=0.3)
    hearing = Hearing(" ".join(f"word{number}" for number in range(20_000)))
    server.runtime.hear(hearing)
    client = await RawClient.open(server)

    async def send() -> None:
        while True:
            client.send(BINARY, COMMAND)
            await client.writer.drain()

    sending = asyncio.create_task(send())
    await until(lambda: len(hearing.requests) > 0)
    await until(lambda: streams(server) == 0, 20)
    await until(lambda: server.app_connections() == 0)
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    assert len(hearing.requests) < 1000


async def test_a_silent_client_is_pinged_and_cut_off_when_nothing_comes_back(serve: Serve) -> None:
    server = await serve(websocket_ping_s=0.1)
    server.runtime.hear(Hearing())
    client = await RawClient.open(server)
    assert await client.receive() == (PING, b"")
    await until(lambda: streams(server) == 0)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await client.receive()


async def test_a_client_that_answers_but_sends_no_sound_is_told_and_closed(serve: Serve) -> None:
    server = await serve(websocket_ping_s=0.05, stream_silence_s=0.3)
    server.runtime.hear(Hearing())
    async with await connect(server) as socket:
        events = await rest(socket)
    assert [event["message"] for event in events] == ["Nothing came for 0.3 s."]
    assert socket.close_code == 1008


async def test_pings_are_answered_also_while_the_last_text_is_awaited(server: Server, hearing: Hearing) -> None:
    hearing.allowed.clear()
    client = await RawClient.open(server, "?level=0")
    client.send(PING, b"one")
    assert await client.receive() == (PONG, b"one")
    client.send(BINARY, tone(1.0))
    client.send(TEXT, FINISH.encode())
    await until(lambda: len(hearing.requests) > 0)
    client.send(PING, b"two")
    while (found := await client.receive())[0] == TEXT:
        pass
    assert found == (PONG, b"two")
    hearing.allowed.set()
    events, code = await client.rest()
    assert (finals(events), code) == (["yes"], 1000)


async def test_more_streams_than_half_the_queue_get_429(server: Server, hearing: Hearing) -> None:
    sockets = [await connect(server) for _ in range(16)]
    status, error, headers = await refused(server)
    assert (status, error["code"], headers["Retry-After"]) == (429, "queue_full", "5")
    await sockets.pop().close()
    await until(lambda: streams(server) == 15)
    async with await connect(server) as socket:
        await socket.send_str(FINISH)
        assert (await rest(socket))[-1] == {"type": "end"}
    for socket in sockets:
        await socket.close()


async def test_when_the_daemon_stops_what_was_said_is_still_transcribed(server: Server, hearing: Hearing) -> None:
    async with await connect(server, "?level=0") as socket:
        await socket.send_bytes(tone(1.0))
        assert (await socket.receive_json(timeout=5))["type"] == "speech_start"
        server.listener.refuse()
        events = await rest(socket)
    assert finals(events) == ["yes"]
    assert kinds(events)[-1] == "final"
    assert socket.close_code == 1001
    assert (await refused(server))[0] == 503


async def test_when_the_daemon_stops_a_client_that_has_finished_gets_its_end(server: Server, hearing: Hearing) -> None:
    hearing.allowed.clear()
    async with await connect(server, "?level=0") as socket:
        await socket.send_bytes(tone(1.0))
        await socket.send_str(FINISH)
        await until(lambda: any(len(request.temperatures) > 1 for request in hearing.requests))
        server.listener.refuse()
        hearing.allowed.set()
        events = await rest(socket)
    assert (finals(events), events[-1], socket.close_code) == (["yes"], {"type": "end"}, 1000)


async def test_when_the_runtime_is_gone_the_client_is_told_what_was_not_transcribed(
    server: Server, hearing: Hearing
) -> None:
    async with await connect(server, "?level=0") as socket:
        await socket.send_bytes(tone(1.0))
        assert (await socket.receive_json(timeout=5))["type"] == "speech_start"
        server.runtime.stopping = True
        server.listener.refuse()
        events = await rest(socket)
    assert [(event["type"], event["segment"], event["code"]) for event in events[-1:]] == [
        ("error", 0, ShuttingDownError.code)
    ]
    assert socket.close_code == 1001


async def test_a_model_that_cannot_be_loaded_ends_the_stream_with_the_reason(
    server: Server, hearing: Hearing, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def load(name: str) -> None:
        raise MemoryBudgetError(f"{name} needs 900 MB, and 100 MB are free.", hint="Unload another model.")

    monkeypatch.setattr(server.runtime, "load", load)
    async with await connect(server) as socket:
        events = await rest(socket)
    assert [(event["code"], event["hint"]) for event in events] == [("insufficient_memory", "Unload another model.")]
    assert socket.close_code == 1011


async def test_what_the_model_never_takes_ends_the_stream(server: Server) -> None:
    async def answer(request: Transcribe) -> Transcribed:
        raise RequestError("This model knows English only.", param="language")

    server.runtime.hear(answer)
    async with await connect(server, "?level=0&language=de") as socket:
        await socket.send_bytes(COMMAND * 3)
        events = await rest(socket)
    errors = [(event["segment"], event["message"]) for event in events if event["type"] == "error"]
    assert errors == [(0, "This model knows English only."), (None, "This model knows English only.")]
    assert socket.close_code == 1008


async def test_a_fault_of_ours_says_nothing_about_the_inside(
    server: Server, hearing: Hearing, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.speech.ear.Ear.hear", lambda *_: 1 // 0)
    async with await connect(server) as socket:
        await socket.send_bytes(COMMAND)
        events = await rest(socket)
    assert [(event["code"], socket.close_code) for event in events] == [("internal_error", 1011)]
    assert "ZeroDivisionError" in caplog.text
    assert "division" not in str(events)


async def test_the_client_in_the_documentation_works(server: Server, hearing: Hearing, tmp_path: Path) -> None:
    example = PAGE.split("## WebSocket", 1)[1].split("```python\n", 1)[1].split("```", 1)[0]
    (tmp_path / "client.py").write_text(example.replace("8484", str(server.port)))
    with wave.open(str(tmp_path / "command.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(COMMAND)
    command = [sys.executable, str(tmp_path / "client.py"), str(tmp_path / "command.wav")]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(20):
        output, _ = await process.communicate()
    lines = [line.strip() for line in output.decode().splitlines()]
    assert [line for line in lines if not line.startswith("partial")] == [
        "speech_start",
        "speech_end",
        "final yes",
        "end",
    ]


async def test_another_site_cannot_open_a_stream(serve: Serve) -> None:
    server = await serve(origins=("https://home.example",))
    server.runtime.hear(Hearing())
    assert (await refused(server, Origin="https://evil.example"))[0] == 403
    for origin in (server.url, "https://home.example"):
        async with await connect(server, origin=origin) as socket:
            assert not socket.closed


async def test_a_key_as_a_subprotocol_opens_a_stream_for_its_owner(serve: Serve) -> None:
    server = await serve(keys={"kitchen": "sk-+/ö"})
    server.runtime.hear(Hearing())
    protocols = ("edge-agent", "edge-agent.key.c2stKy_Dtg")
    async with await connect(server, protocols=protocols) as socket:
        assert socket.protocol == "edge-agent"
        await socket.send_bytes(COMMAND)
        await socket.send_str(FINISH)
        assert finals(await rest(socket)) == ["yes"]
    assert {client for _, client, _, _ in server.runtime.submissions} == {"kitchen"}
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await connect(server, protocols=("edge-agent", "edge-agent.key.c2stMQ"))
    assert caught.value.status == 401


async def test_a_stream_is_in_the_log_and_in_the_metrics(
    server: Server, hearing: Hearing, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "agent.access")
    async with await connect(server) as socket:
        async with server.http.get(f"{server.url}/metrics") as response:
            assert "edge_audio_streams 1.0" in await response.text()
        await socket.send_bytes(COMMAND)
        await socket.send_str(FINISH)
        await rest(socket)
    await until(lambda: "GET /v1/audio/stream 101" in caplog.text)
    assert "model=whisper" in caplog.text
    passes = len(hearing.requests)
    async with server.http.get(f"{server.url}/metrics") as response:
        text = await response.text()
    assert f'llm_requests_success_total{{model="whisper"}} {passes:.1f}' in text
    assert f'llm_tokens_generated_total{{model="whisper"}} {3 * passes:.1f}' in text
