"""The device's microphone over HTTP: events as a stream, start and stop, devices, and what others may not do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest

from agent.speech.devices import DeviceError
from agent.speech.opening import MicrophoneState
from tests.api.conftest import Serve, Server, until
from tests.speech.sounds import silence, tone

KEY = {"Authorization": "Bearer secret"}


class Events:
    """What a stream says: each event once as its name, once as its JSON."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def until(self, kind: str, **fields: Any) -> list[dict[str, Any]]:
        """All events up to the first of this kind with these fields."""
        events: list[dict[str, Any]] = []
        async with asyncio.timeout(30):
            while True:
                name = await self.response.content.readline()
                assert name, f"the stream ended: {events}"
                if not name.startswith(b"event: "):
                    continue
                data = await self.response.content.readline()
                event = json.loads(data.removeprefix(b"data: "))
                assert event["type"] == name.removeprefix(b"event: ").strip().decode()
                events.append(event)
                if event["type"] == kind and fields.items() <= event.items():
                    return events

    async def rest(self) -> bytes:
        async with asyncio.timeout(5):
            return await self.response.content.read()


@asynccontextmanager
async def live(server: Server, query: str = "", **headers: str) -> AsyncIterator[Events]:
    async with server.http.get(f"{server.url}/v1/audio/live{query}", headers=headers) as response:
        assert (response.status, response.content_type) == (200, "text/event-stream")
        yield Events(response)


async def test_a_listener_gets_the_state_first_and_then_what_is_said(server: Server) -> None:
    async with live(server) as events:
        assert [event["state"] for event in await events.until("device", state="open")] == ["opening", "open"]
        server.room.say(silence(0.5), tone(1.5), silence(1.0))
        said = await events.until("final")
        kinds = [event["type"] for event in said]
        assert {"level", "speech_start", "partial", "speech_end", "final"} == set(kinds)
        assert said[-1]["text"] == "yes"
        async with live(server, "?level=0") as later:
            assert (await later.until("device"))[0]["state"] == "open"
            server.room.say(tone(1.0), silence(1.0))
            assert "level" not in [event["type"] for event in await later.until("final")]
    await until(lambda: server.room.open == 0)
    assert server.room.openings == 1


async def test_start_holds_stop_closes_for_everyone(server: Server) -> None:
    body = {"device": 3, "model": "w", "language": "en", "prompt": "Kitchen."}
    status, state, _ = await server.post("/v1/audio/live/start", body)
    assert (status, state["held"], state["model"], state["wanted"], state["language"]) == (
        200,
        True,
        "whisper",
        "3",
        "en",
    )
    assert sorted(state) == sorted(field.name for field in msgspec.structs.fields(MicrophoneState))
    async with live(server, "?level=0") as events:
        await events.until("device", state="open")
        assert (await server.post("/v1/audio/live/start"))[0] == 200, "an empty body will do"
        status, state, _ = await server.post("/v1/audio/live/stop")
        assert (status, state["state"], state["held"], state["listeners"]) == (200, "closed", False, 0)
        assert server.room.open == 0
        assert b'"state":"closed"' in await events.rest()
    assert (await server.post("/v1/audio/live/stop"))[1]["state"] == "closed"


@pytest.mark.parametrize(
    ("path", "status", "code", "words"),
    [
        ("?device=pulse", 409, "microphone_in_use", '"Desk", not "pulse"'),
        ("?language=fr", 409, "microphone_in_use", "POST /v1/audio/live/stop"),
        ("?model=nope", 404, "model_not_found", "transcribes"),
        ("?language=klingonish", 400, "invalid_request", "no language"),
        ("?device=%00", 400, "invalid_request", "`device`"),
        ("?lvl=0", 400, "invalid_request", "Did you mean `level`?"),
        ("?level=some", 400, "invalid_request", "expected 1 or 0"),
        ("?prompt=" + "x" * 4001, 400, "invalid_request", "4000 characters"),
    ],
)
async def test_what_cannot_be_is_an_error_before_anything_is_opened(
    server: Server, path: str, status: int, code: str, words: str
) -> None:
    await server.post("/v1/audio/live/start", {"language": "en"})
    await until(lambda: server.listening.state.state == "open")
    found, answer, _ = await server.get(f"/v1/audio/live{path}")
    assert (found, answer["error"]["code"]) == (status, code)
    assert words in answer["error"]["message"]
    assert server.room.openings == 1


async def test_no_model_and_no_portaudio_are_said_before_the_microphone_is_opened(server: Server) -> None:
    server.engine.models = []
    assert (await server.get("/v1/audio/live"))[0] == 404
    assert (await server.post("/v1/audio/live/start"))[0] == 404
    server.engine.models = ["whisper"]

    def missing() -> None:
        raise DeviceError("PortAudio is not installed.", hint="apt-get install libportaudio2")

    server.listening._check = missing
    for status, answer, _ in (await server.get("/v1/audio/live"), await server.get("/v1/audio/devices")):
        assert (status, answer["error"]["code"]) == (503, "audio_device_unavailable")
        assert "apt-get install libportaudio2" in answer["error"]["message"]
    assert server.room.openings == 0


async def test_devices_are_listed_and_none_is_opened(server: Server) -> None:
    status, answer, _ = await server.get("/v1/audio/devices")
    assert status == 200
    assert answer["devices"] == [{"index": 3, "name": "Desk", "channels": 2, "sample_rate_hz": 48_000, "default": True}]
    assert answer["microphone"]["state"] == "closed"
    assert server.room.openings == 0


async def test_status_and_metrics_tell_of_it(server: Server) -> None:
    assert (await server.get("/status"))[1]["microphone"]["state"] == "closed"
    async with live(server) as events:
        await events.until("device", state="open")
        state = (await server.get("/status"))[1]["microphone"]
        assert (state["state"], state["device"], state["listeners"], state["held"]) == ("open", "Desk", 1, False)
        async with server.http.get(f"{server.url}/metrics") as response:
            series = await response.text()
    for line in ("edge_microphone_open 1.0", "edge_microphone_listeners 1.0", "edge_microphone_openings_total 1.0"):
        assert line in series
    assert "edge_microphone_lost_samples_total 0.0" in series


async def test_a_silent_stream_says_that_it_lives(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.api.live.PING_S", 0.02)
    async with live(server, "?level=0") as events:
        await events.until("device", state="open")
        async with asyncio.timeout(5):
            assert await events.response.content.readuntil(b": ping\n\n")
            assert await events.response.content.readuntil(b": ping\n\n")


async def test_a_client_that_vanishes_closes_the_microphone(server: Server) -> None:
    reader, writer = await server.raw(b"GET /v1/audio/live?level=0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await asyncio.wait_for(reader.readuntil(b'"open"'), 5)
    writer.transport.abort()
    await until(lambda: server.room.open == 0)
    assert server.listening.state.listeners == 0


async def test_a_shutdown_ends_the_streams_and_does_not_wait_for_them(server: Server) -> None:
    async with live(server, "?level=0") as events:
        await events.until("device", state="open")
        server.listener.refuse()
        async with asyncio.timeout(20):
            await server.listening.close(0.5)
            assert await server.listener.close(grace_s=60) is True
        assert b'"state":"closed"' in await events.rest()


async def test_head_opens_nothing(server: Server) -> None:
    for path in ("/v1/audio/live", "/v1/audio/devices"):
        async with server.http.head(server.url + path) as response:
            assert response.status == 405
    assert server.room.openings == 0


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://home.example"}, 200),
    ],
)
async def test_pages_of_other_sites_cannot_open_it(serve: Serve, headers: dict[str, str], status: int) -> None:
    server = await serve(origins=("https://home.example",))
    async with server.http.get(f"{server.url}/v1/audio/live", headers=headers) as response:
        assert response.status == status
    assert server.room.openings == (1 if status == 200 else 0)


async def test_it_needs_the_key(serve: Serve) -> None:
    server = await serve(keys={"tablet": "secret"})
    for path in ("/v1/audio/live", "/v1/audio/devices"):
        assert (await server.get(path))[0] == 401
    for path in ("/v1/audio/live/start", "/v1/audio/live/stop"):
        assert (await server.post(path))[0] == 401
    assert server.room.openings == 0
    async with live(server, **KEY) as events:
        await events.until("device", state="open")
