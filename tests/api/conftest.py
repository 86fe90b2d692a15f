from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agent.api.embedder import RuntimeEmbedder
from agent.api.keys import ApiKeys
from agent.api.listener import Listener
from agent.api.parts import CONNECTIONS
from agent.api.server import make_app
from agent.api.settings import ApiSettings
from agent.errors import ModelNotFoundError, RequestError
from agent.search.library import Library
from agent.search.shelf import Shelf
from agent.speech.listening import Listening
from tests.api.scripted_runtime import ScriptedRuntime
from tests.speech.scripted_listening import Room, ScriptedEngine, listening_of
from tests.speech.sounds import LoudIsSpeech


@dataclass(frozen=True)
class Stored:
    version: str


class ScriptedStore:
    """The two calls the HTTP side makes; a real store is tested where it lives."""

    def __init__(self) -> None:
        self.versions = ["1", "2"]
        self.active = "1"

    def activate(self, name: str, version: str) -> Stored:
        if version not in self.versions:
            raise ModelNotFoundError(f"{name} has no version {version}.", param="version")
        self.active = version
        return Stored(version)

    def rollback(self, name: str) -> Stored:
        if self.active == "1":
            raise RequestError(f"{name} has no earlier version to go back to.")
        self.active = "1"
        return Stored("1")


class ScriptedDaemon:
    version = "9.9.9"
    started_at = time.time()

    def __init__(self) -> None:
        self.changes = 0

    def about(self) -> Mapping[str, Any]:
        return {"profile": {"name": "pi5"}, "board": {"model": "Raspberry Pi 5"}}

    async def models_changed(self) -> None:
        self.changes += 1


@dataclass
class Server:
    """A listening server and a client of it."""

    runtime: ScriptedRuntime
    store: ScriptedStore
    daemon: ScriptedDaemon
    keys: ApiKeys
    app: aiohttp.web.Application
    listener: Listener
    port: int
    library: Library
    listening: Listening
    room: Room
    engine: ScriptedEngine
    http: aiohttp.ClientSession
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def post(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any, Mapping[str, str]]:
        """Status, JSON (or text, of a stream) and headers."""
        data = body if isinstance(body, bytes | str) or body is None else None
        json = None if data is not None or body is None else body
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.http.post(self.url + path, json=json, data=data, headers=named) as response:
            is_json = response.content_type == "application/json"
            return response.status, await (response.json() if is_json else response.text()), response.headers

    async def get(self, path: str, **headers: str) -> tuple[int, Any, Mapping[str, str]]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.http.get(self.url + path, headers=named) as response:
            return response.status, await response.json(), response.headers

    async def chat(self, content: str = "Hi", **fields: Any) -> tuple[int, Any, Mapping[str, str]]:
        body = {"model": "tiny", "messages": [{"role": "user", "content": content}], **fields}
        return await self.post("/v1/chat/completions", body)

    def app_connections(self) -> int:
        return self.app[CONNECTIONS].open

    async def raw(self, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A bare connection that has sent `data`."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        await writer.drain()
        return reader, writer


Serve = Callable[..., Awaitable[Server]]


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Starts a server with the given `ApiSettings` fields and `keys` (by name)."""
    async with AsyncExitStack() as stack:

        async def start(*, keys: dict[str, str] | None = None, **settings: Any) -> Server:
            runtime, store, daemon = ScriptedRuntime(), ScriptedStore(), ScriptedDaemon()
            held = ApiKeys.of(keys or {})
            library = Library(Shelf(tmp_path / "collections"), RuntimeEmbedder(runtime))  # type: ignore[arg-type]
            room, engine = Room(), ScriptedEngine()
            listening = listening_of(room, engine)
            stack.push_async_callback(listening.close, 0)
            app = make_app(
                runtime,  # type: ignore[arg-type]
                store,  # type: ignore[arg-type]
                ApiSettings(**settings),
                daemon=daemon,
                library=library,
                listening=listening,
                keys=held,
                voice=LoudIsSpeech,
            )
            indexing = asyncio.create_task(library.run())
            stack.push_async_callback(asyncio.wait_for, indexing, 10)
            stack.callback(library.stop)
            listener = Listener(app)
            port = await listener.open("127.0.0.1", 0, keys=held)
            stack.push_async_callback(listener.close, 0.0)
            http = await stack.enter_async_context(aiohttp.ClientSession())
            return Server(runtime, store, daemon, held, app, listener, port, library, listening, room, engine, http)

        yield start


@pytest.fixture
async def server(serve: Serve) -> Server:
    return await serve()


async def until(condition: Callable[[], bool], timeout_s: float = 30.0) -> float:
    """Waits for `condition`; returns how long it took. Fails after `timeout_s`."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < timeout_s, "it did not come to be"
        await asyncio.sleep(0.001)
    return time.monotonic() - start


def chat_request(content: str = "Hi", *, extra: str = "", stream: bool = True) -> bytes:
    """A raw HTTP request for a chat completion."""
    messages = [{"role": "user", "content": content}]
    body = json.dumps({"model": "tiny", "stream": stream, "messages": messages})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
    return (head + body).encode()
