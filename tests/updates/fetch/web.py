"""A web server of a folder with ranges, as any is; and one that does as a test says: slow, wrong, hostile."""

from __future__ import annotations

import contextlib
import re
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

Fault = Callable[["Handler", bytes], None]
"""Answers a request for a file, whose content is given, in its own way. Sets nothing back."""
_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        web = self.server.web
        web.requests.append(self.path)
        path = web.folder / urlsplit(self.path).path.lstrip("/")
        content = path.read_bytes() if path.is_file() else None
        for part, fault in web.faults.items():
            if part in self.path and content is not None:
                with contextlib.suppress(OSError):
                    fault(self, content)
                return
        if content is None:
            self.give(404, b"")
            return
        self.range(content)

    def asked(self, content: bytes) -> tuple[int, int]:
        """First byte and end of what was asked for."""
        found = _RANGE.fullmatch(self.headers.get("Range", ""))
        return (int(found[1]), min(int(found[2]) + 1, len(content))) if found else (0, len(content))

    def range(self, content: bytes, change: Callable[[bytes], bytes] = bytes) -> None:
        """As a server does, but that the bytes are what `change` makes of them."""
        first, end = self.asked(content)
        data = change(content[first:end])
        if "Range" in self.headers:
            self.give(206, data, {"Content-Range": f"bytes {first}-{end - 1}/{len(content)}"})
        else:
            self.give(200, data)

    def give(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        for at in range(0, len(data), 16_384):
            piece = data[at : at + 16_384]
            with contextlib.suppress(OSError):
                self.wfile.write(piece)
                self.server.web.count(len(piece))

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    web: Web

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are what is tested."""


class Web:
    """`with Web(folder) as web: web.url`. `faults` by a part of the path; `sent_bytes` counts bodies. With `tls` (a
    certificate for localhost, and its key) it speaks HTTPS."""

    def __init__(self, folder: Path, tls: tuple[Path, Path] | None = None) -> None:
        self.folder = folder
        self._tls = tls
        self.faults: dict[str, Fault] = {}
        self.requests: list[str] = []
        self.sent_bytes = 0
        self._lock = threading.Lock()

    def count(self, size: int) -> None:
        with self._lock:
            self.sent_bytes += size

    def __enter__(self) -> Web:
        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.web = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        if self._tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self._tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self.url = f"https://localhost:{self._server.server_address[1]}/"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
