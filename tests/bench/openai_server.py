"""A small OpenAI-compatible server that behaves as a test tells it to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


@dataclass
class Manners:
    """`usage`: sends token counts. `refuses`: fields that are a 400. `routes`: those that are there; others are 404.
    `status`: answered instead, by how many requests came before and what
    this one is. `token_s`: time between two tokens. `breaks_after`:
    the connection is cut after so many tokens."""

    models: tuple[str, ...] = ("model",)
    usage: bool = True
    refuses: frozenset[str] = frozenset()
    routes: frozenset[str] = frozenset({"/v1/completions", "/v1/chat/completions"})
    status: Callable[[int, dict[str, Any]], int] = lambda number, body: 200
    token_s: float = 0.005
    breaks_after: int | None = None
    key: str = ""


@dataclass
class OpenAiServer:
    """`with OpenAiServer(Manners(...)) as server`. `bodies` are the requests for text that came, with their routes."""

    manners: Manners = field(default_factory=Manners)
    bodies: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def __enter__(self) -> Self:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                key = server.manners.key
                if key and self.headers.get("Authorization") != f"Bearer {key}":
                    server._json(self, 401, {"error": {"message": "Wrong key.", "code": "invalid_api_key"}})
                elif self.path == "/v1/models":
                    server._json(self, 200, {"data": [{"id": name} for name in server.manners.models]})
                else:
                    server._json(self, 404, {"error": "not found"})

            def do_POST(self) -> None:
                server._text(self)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def stop(self) -> None:
        """Nobody answers at the address any more."""
        self._http.shutdown()
        self._http.server_close()

    def _json(self, handler: BaseHTTPRequestHandler, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        if status == 429:
            handler.send_header("Retry-After", "0")
        handler.end_headers()
        handler.wfile.write(body)

    def _text(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers.get("Content-Length") or 0)))
        manners, number = self.manners, len(self.bodies)
        self.bodies.append((handler.path, body))
        if handler.path not in manners.routes:
            self._json(handler, 404, {"error": {"message": "No such route.", "code": "not_found"}})
            return
        if refused := manners.refuses & body.keys():
            self._json(handler, 400, {"error": {"message": f"Unrecognized argument: {min(refused)}"}})
            return
        if (status := manners.status(number, body)) != 200:
            self._json(handler, status, {"error": {"message": "Later.", "code": "queue_full"}})
            return
        chat = handler.path == "/v1/chat/completions"
        prompt = body["messages"][0]["content"] if chat else body["prompt"]
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream; charset=utf-8")
        handler.send_header("Connection", "close")
        handler.end_headers()
        for token in range(body["max_tokens"]):
            if token == manners.breaks_after:
                handler.connection.close()
                return
            time.sleep(manners.token_s)
            choice: dict[str, Any] = {"index": 0, "finish_reason": None}
            choice |= {"delta": {"content": " a"}} if chat else {"text": " a"}
            self._event(handler, {"choices": [choice]})
        self._event(handler, {"choices": [{"index": 0, "delta": {}, "text": "", "finish_reason": "length"}]})
        if manners.usage:
            counts = {"prompt_tokens": 1 + 2 * len(prompt.split()), "completion_tokens": body["max_tokens"]}
            self._event(handler, {"choices": [], "usage": counts})
        handler.wfile.write(b"data: [DONE]\n\n")
        handler.close_connection = True

    def _event(self, handler: BaseHTTPRequestHandler, value: Any) -> None:
        handler.wfile.write(b"data: " + json.dumps(value).encode() + b"\n\n")
