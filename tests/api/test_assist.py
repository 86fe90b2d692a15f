"""What somebody says or writes, made into an action: the three ways in, what comes out, and what is refused."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from agent.runtime.stream import Stream
from agent.runtime.wire.generation import Delta, Generate
from agent.runtime.wire.transcription import Transcribe, Transcribed
from agent.starter.action import action_schema
from tests.api.audio_files import noise
from tests.api.conftest import Server, until
from tests.api.scripted_runtime import SCRIPTS, finish
from tests.speech.sounds import silence, tone

ACTION = {"action": "turn_on", "target": "light"}


async def act(stream: Stream, request: Generate) -> None:
    stream.push(Delta(id=request.id, text=json.dumps(ACTION), tokens=9))
    finish(stream, request, 0, 9, "stop")
    stream.finish()


async def ramble(stream: Stream, request: Generate) -> None:
    stream.push(Delta(id=request.id, text='{"action": "turn', tokens=256))
    finish(stream, request, 0, 256, "length")
    stream.finish()


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCRIPTS, "light", act)
    monkeypatch.setitem(SCRIPTS, "yes", act)
    monkeypatch.setitem(SCRIPTS, "novel", ramble)


async def test_text_becomes_an_action(server: Server) -> None:
    status, answer, _ = await server.post("/v1/assist", {"text": "Turn on the light"})
    assert (status, answer["text"], answer["action"], answer["model"]) == (
        200,
        "Turn on the light",
        ACTION,
        "org/tiny",
    )
    timings = answer["timings"]
    assert (timings["speech_s"], timings["transcribe_s"]) == (None, None)
    assert timings["total_s"] >= timings["action_s"] > 0
    request = server.runtime.requests[0]
    assert isinstance(request, Generate)
    assert (request.json_schema, request.sampling.temperature) == (action_schema(), 0.0)
    assert request.messages == ({"role": "user", "content": "Turn on the light"},)


async def test_ones_own_schema_and_system_message(server: Server) -> None:
    schema = {"type": "object", "properties": {"on": {"type": "boolean"}}}
    body = {"text": "light", "schema": schema, "system": "You are a lamp.", "model": "tiny", "priority": "high"}
    assert (await server.post("/v1/assist", body))[0] == 200
    request = server.runtime.requests[0]
    assert isinstance(request, Generate)
    assert request.json_schema == schema
    assert request.messages is not None
    assert [message["role"] for message in request.messages] == ["system", "user"]


async def test_the_microphone_is_open_for_one_utterance(server: Server) -> None:
    asking = asyncio.create_task(server.post("/v1/assist", {"microphone": True}))
    await until(lambda: server.room.open == 1)
    assert server.runtime.kept == ["org/tiny"]
    server.room.say(silence(0.5), tone(1.5), silence(1.0), tone(1.5), silence(1.0))
    status, answer, _ = await asking
    assert (status, answer["text"], answer["action"]) == (200, "yes", ACTION)
    timings = answer["timings"]
    assert timings["speech_s"] == pytest.approx(1.5, abs=0.6)
    assert timings["total_s"] >= timings["transcribe_s"] > 0
    await until(lambda: server.room.open == 0)
    assert server.runtime.kept == []


async def test_nobody_speaks(server: Server) -> None:
    server.room.say(silence(0.5))
    status, answer, _ = await server.post("/v1/assist", {"microphone": True, "timeout_s": 0.3})
    assert (status, answer["text"], answer["action"]) == (200, "", None)
    assert server.runtime.requests == []
    await until(lambda: server.room.open == 0)


async def test_somebody_who_began_is_waited_for(server: Server) -> None:
    asking = asyncio.create_task(server.post("/v1/assist", {"microphone": True, "timeout_s": 0.4}))
    await until(lambda: server.room.open == 1)
    server.room.say(tone(1.0))
    await asyncio.sleep(0.6)
    server.room.say(silence(1.0))
    assert (await asking)[1]["action"] == ACTION


async def test_a_client_that_leaves_closes_the_microphone(server: Server) -> None:
    asking = asyncio.create_task(server.post("/v1/assist", {"microphone": True}))
    await until(lambda: server.room.open == 1)
    asking.cancel()
    await until(lambda: server.room.open == 0)


async def test_a_file_without_speech_asks_for_nothing(server: Server) -> None:
    async def hear(request: Transcribe) -> Transcribed:
        raise AssertionError("there is no speech to transcribe")

    server.runtime.hear(hear)
    data = aiohttp.FormData({"language": "en"})
    data.add_field("file", noise(1.0), filename="noise.wav")
    async with server.http.post(f"{server.url}/v1/assist", data=data) as response:
        answer: Any = await response.json()
        assert (response.status, answer["text"], answer["action"]) == (200, "", None)
    assert server.runtime.requests == []


async def test_an_answer_that_is_not_whole_is_an_error(server: Server) -> None:
    status, answer, _ = await server.post("/v1/assist", {"text": "write a novel"})
    assert (status, answer["error"]["code"]) == (500, "engine_error")
    assert "no whole action" in answer["error"]["message"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "Expected one of `text`, `microphone` and `file`."),
        ({"text": "a", "microphone": True}, "Expected one of `text`"),
        ({"text": ""}, "`text`"),
        ({"text": 5}, "`text` is 5"),
        ({"text": "a", "schema": []}, "`schema`"),
        ({"text": "a", "model": "vectors"}, "vectors makes embeddings."),
        ({"txt": "a"}, 'Unknown field "txt". Did you mean `text`?'),
        ({"microphone": True, "timeout_s": 0}, "`timeout_s` is 0"),
        ({"microphone": True, "transcription_model": "nobody"}, "No model here transcribes speech."),
    ],
)
async def test_what_is_refused(server: Server, body: dict[str, Any], said: str) -> None:
    status, answer, _ = await server.post("/v1/assist", body)
    assert status in (400, 404)
    assert said in answer["error"]["message"]
