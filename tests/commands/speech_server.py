"""A server that speaks the daemon's audio routes, as far as a script tells it to."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

Step = Mapping[str, Any] | threading.Event
"""An event to send, or something to wait for before the next one."""


class SpeechServer:
    """`with SpeechServer() as server`: `script[path]` holds one list of steps for each request to it, the last one for
    all that follow; or a number and a value, which are a status and JSON. `forms` are the uploads that came, `bodies`
    the JSON."""

    def __init__(self) -> None:
        self.script: dict[str, list[list[Step] | tuple[int, Any]]] = {}
        self.forms: list[dict[str, list[Any]]] = []
        self.bodies: list[Any] = []
        self.paths: list[str] = []
        self.ended = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server._answer(self)

            do_POST = do_GET  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        self._http.shutdown()
        self._http.server_close()

    @property
    def port(self) -> str:
        return str(self._http.server_address[1])

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        path = handler.path.partition("?")[0]
        self.paths.append(handler.path)
        if "multipart" in (handler.headers.get("Content-Type") or ""):
            self.forms.append(_form(handler.headers["Content-Type"], body))
        elif body:
            self.bodies.append(json.loads(body))
        answers = self.script[path]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, tuple):
            handler.send_response(answer[0])
            handler.end_headers()
            handler.wfile.write(json.dumps(answer[1]).encode())
            return
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.end_headers()
        try:
            for step in answer:
                if isinstance(step, threading.Event):
                    while not step.wait(0.05) and not self.ended.is_set():
                        pass
                else:
                    handler.wfile.write(f"event: x\ndata: {json.dumps(step)}\n\n".encode())
        except OSError:
            pass


def _form(content_type: str, body: bytes) -> dict[str, list[Any]]:
    """Values by name; the file as (name, bytes)."""
    message = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    fields: dict[str, list[Any]] = {}
    for part in message.iter_parts():
        assert isinstance(part, Message)
        name = str(part.get_param("name", header="content-disposition"))
        data = part.get_payload(decode=True)
        assert isinstance(data, bytes)
        file = part.get_filename()
        fields.setdefault(name, []).append((file, data) if file else data.decode())
    return fields
