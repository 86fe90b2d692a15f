from __future__ import annotations

import asyncio

import pytest
from openai import AsyncOpenAI

from tests.api.conftest import Server, until


async def test_official_client_lists_and_finds_models(server: Server) -> None:
    async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        assert [model.id async for model in client.models.list()] == ["org/tiny", "vectors"]
        for name in ("org/tiny", "tiny", "gpt-4o"):
            model = await client.models.retrieve(name)
            assert (model.id, model.object, model.owned_by) == ("org/tiny", "model", "edge-agent")


async def test_models_show_what_they_are(server: Server) -> None:
    _, answer, _ = await server.get("/v1/models/org%2Ftiny")
    assert answer["task"] == "generate"
    assert answer["version"] == "1"
    assert answer["state"] == "ready"
    assert answer["aliases"] == ["tiny", "gpt-4o"]


@pytest.mark.parametrize(
    ("name", "hint"), [("org/tinny", "Did you mean org/tiny?"), ("qwen", "There is org/tiny, vectors.")]
)
async def test_unknown_model_is_told_of_the_known(server: Server, name: str, hint: str) -> None:
    status, answer, _ = await server.get(f"/v1/models/{name}")
    assert status == 404
    assert answer["error"] == {
        "message": f"There is no model called '{name}'. {hint}",
        "type": "not_found_error",
        "param": "model",
        "code": "model_not_found",
    }


async def test_load_and_unload_answer_when_done(server: Server) -> None:
    status, answer, _ = await server.post("/models/vectors/load")
    assert (status, answer["model"], answer["state"]) == (200, "vectors", "ready")
    status, answer, _ = await server.post("/models/vectors/unload")
    assert (status, answer["state"]) == (200, "unloaded")
    await server.post("/models/tiny/load")
    await server.post("/models/org/tiny/load")
    assert server.runtime.loads == ["vectors", "org/tiny", "org/tiny"]


async def test_a_load_goes_on_when_its_client_leaves(server: Server) -> None:
    _, writer = await server.raw(b"POST /models/vectors/load HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
    await asyncio.sleep(0.02)
    writer.transport.abort()
    await until(lambda: server.runtime.loads == ["vectors"])


async def test_activate_and_rollback_tell_the_runtime(server: Server) -> None:
    status, answer, _ = await server.post("/models/tiny/activate", {"version": "2"})
    assert (status, answer) == (200, {"model": "org/tiny", "version": "2"})
    assert (server.store.active, server.daemon.changes) == ("2", 1)
    status, answer, _ = await server.post("/models/tiny/rollback")
    assert (status, answer) == (200, {"model": "org/tiny", "version": "1"})
    assert (server.store.active, server.daemon.changes) == ("1", 2)


async def test_a_version_that_cannot_be_loaded_is_not_active_afterwards(server: Server) -> None:
    server.runtime.refuses_version = "It is damaged."
    status, answer, _ = await server.post("/models/tiny/activate", {"version": "2"})
    assert (status, answer["error"]["message"]) == (500, "It is damaged.")
    assert (server.store.active, server.daemon.changes) == ("1", 2), "and the runtime was told of both changes"


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/models/tiny/activate", {"version": "9"}, 404, "model_not_found"),
        ("/models/tiny/activate", {}, 400, "invalid_request"),
        ("/models/tiny/activate", {"version": 2}, 400, "invalid_request"),
        ("/models/tiny/activate", {"version": "2", "path": "/etc"}, 400, "invalid_request"),
        ("/models/tiny/activate", None, 400, "invalid_request"),
        ("/models/tiny/rollback", None, 400, "invalid_request"),
        ("/models/nope/load", None, 404, "model_not_found"),
        ("/models/tiny/explode", None, 404, "not_found"),
    ],
)
async def test_model_actions_refused(server: Server, path: str, body: object, status: int, code: str) -> None:
    found, answer, _ = await server.post(path, body)
    assert (found, answer["error"]["code"]) == (status, code)
    assert server.daemon.changes == 0
