"""The HTTP side over the real runtime and real worker processes (scripted, without a model)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from agent.api.embedder import RuntimeEmbedder
from agent.api.keys import ApiKeys
from agent.api.listener import Listener
from agent.api.server import make_app
from agent.api.settings import ApiSettings
from agent.runtime.service import ModelSpec, Runtime
from agent.search.library import Library
from agent.search.shelf import Shelf
from tests.api.conftest import ScriptedDaemon, ScriptedStore, until
from tests.runtime.scripted import model, runtime_of, state_of
from tests.speech.scripted_listening import Room, ScriptedEngine, listening_of


class Api:
    def __init__(self, runtime: Runtime, url: str, http: aiohttp.ClientSession) -> None:
        self.runtime = runtime
        self.url = url
        self.http = http

    async def post(self, path: str, body: Any = None) -> tuple[int, Any]:
        async with self.http.post(self.url + path, json=body) as response:
            return response.status, await response.json()

    async def complete(self, prompt: str, **fields: Any) -> tuple[int, Any]:
        return await self.post("/v1/completions", {"model": "m", "prompt": prompt, **fields})

    async def stream(self, prompt: str, **fields: Any) -> list[dict[str, Any]]:
        """The events of a stream, [DONE] left out."""
        body = {"model": "m", "prompt": prompt, "stream": True, **fields}
        async with self.http.post(self.url + "/v1/completions", json=body) as response:
            assert response.status == 200
            text = await response.text()
        return [json.loads(line[6:]) for line in text.split("\n\n") if line.startswith("data: {")]


@asynccontextmanager
async def api_of(*specs: ModelSpec, budget_bytes: int = 10_000, **limits: Any) -> AsyncIterator[Api]:
    async with runtime_of(*specs, budget_bytes=budget_bytes, **limits) as runtime:
        keys = ApiKeys()
        store, daemon = ScriptedStore(), ScriptedDaemon()
        library = Library(Shelf(Path("nowhere")), RuntimeEmbedder(runtime))
        listening = listening_of(Room(), ScriptedEngine())
        app = make_app(
            runtime,
            store,  # type: ignore[arg-type]
            ApiSettings(),
            daemon=daemon,
            library=library,
            listening=listening,
            keys=keys,
        )
        listener = Listener(app)
        port = await listener.open("127.0.0.1", 0, keys=keys)
        try:
            async with aiohttp.ClientSession() as http:
                yield Api(runtime, f"http://127.0.0.1:{port}", http)
        finally:
            await listener.close(0)


async def test_answer_comes_through_whole_and_streamed() -> None:
    async with api_of(model()) as api:
        status, answer = await api.complete("tokens=4", n=2)
        assert status == 200
        assert [choice["text"] for choice in answer["choices"]] == ["0 1 2 3 "] * 2
        assert answer["usage"]["prompt_tokens"] == 4
        events = await api.stream("tokens=4 delay_s=0.01")
        assert "".join(event["choices"][0]["text"] for event in events) == "0 1 2 3 "
        assert events[-1]["choices"][0]["finish_reason"] == "stop"


async def test_worker_killed_in_mid_stream_is_an_error_event_and_the_next_request_works() -> None:
    async with api_of(model()) as api:
        events = await api.stream("tokens=9 at=2 delay_s=0.02 signal=SIGKILL")
        assert events[-1]["error"]["code"] == "worker_crashed"
        assert "".join(event["choices"][0]["text"] for event in events[:-1]) == "0 1 "
        assert (await api.complete("tokens=1"))[0] == 200
        async with api.http.get(api.url + "/metrics") as response:
            text = await response.text()
        assert 'edge_worker_restarts_total{model="m"} 1.0' in text
        assert 'llm_requests_failed_total{code="worker_crashed",model="m"} 1.0' in text


async def test_client_leaving_frees_its_place_in_the_queue_and_its_slot() -> None:
    async with api_of(model(slots=1)) as api:
        running = asyncio.create_task(api.complete("tokens=1 delay_s=60"))
        await until(lambda: state_of(api.runtime).running == 1)
        waiting = asyncio.create_task(api.complete("tokens=1"))
        await until(lambda: api.runtime.snapshot().queue.waiting == 1)
        waiting.cancel()
        assert await until(lambda: api.runtime.snapshot().queue.waiting == 0) < 0.3
        running.cancel()
        await until(lambda: state_of(api.runtime).running == 0)
        assert (await api.complete("tokens=1"))[0] == 200


async def test_full_queue_and_passed_deadline() -> None:
    async with api_of(model(slots=1), queue_capacity=1) as api:
        running = asyncio.create_task(api.complete("tokens=1 delay_s=1"))
        await until(lambda: state_of(api.runtime).running == 1)
        late = asyncio.create_task(api.complete("tokens=1", timeout=0.2))
        await until(lambda: api.runtime.snapshot().queue.waiting == 1)
        status, answer = await api.complete("tokens=1")
        assert (status, answer["error"]["code"]) == (429, "queue_full")
        status, answer = await late
        assert (status, answer["error"]["code"]) == (503, "deadline_exceeded")
        assert (await running)[0] == 200


async def test_model_that_cannot_fit_says_so_with_the_arithmetic() -> None:
    async with api_of(model(path="memory=20000")) as api:
        status, answer = await api.complete("tokens=1")
        assert (status, answer["error"]["code"]) == (507, "insufficient_memory")
        status, answer = await api.post("/models/m/load")
        assert status == 507


async def test_load_unload_and_status_follow_the_worker() -> None:
    async with api_of(model(), model("e", task="embed")) as api:
        assert (await api.post("/models/e/load"))[1]["state"] == "ready"
        status, answer = await api.post("/v1/embeddings", {"input": ["a", "b"]})
        assert (status, answer["data"][1]["embedding"]) == (200, [0.0, 0.0])
        async with api.http.get(api.url + "/status") as response:
            models = {one["name"]: one for one in (await response.json())["runtime"]["models"]}
        assert (models["e"]["state"], models["m"]["state"]) == ("ready", "unloaded")
        assert models["e"]["loaded"]["embedding_dim"] == 2
        assert (await api.post("/models/e/unload"))[1]["state"] == "unloaded"


async def test_hundred_at_once_each_end_once() -> None:
    async with api_of(model(slots=4), queue_capacity=32) as api:
        answers = await asyncio.gather(*(api.complete("tokens=3 delay_s=0.002") for _ in range(100)))
        statuses = [status for status, _ in answers]
        assert set(statuses) <= {200, 429}
        assert statuses.count(200) >= 32
        assert all(answer["choices"][0]["text"] == "0 1 2 " for status, answer in answers if status == 200)
        assert api.runtime.snapshot().queue.waiting == 0
