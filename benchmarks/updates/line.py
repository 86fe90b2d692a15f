"""The line between a device and the web server of a repository: how fast it is, and what went over it."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Final

_RANGE: Final = re.compile(r"bytes=(\d+)-(\d+)")
_PIECE_BYTES: Final = 8 * 1024
_SEND_BUFFER_BYTES: Final = 16 * 1024


class Link:
    """A web server of a folder at the far end of a line of `bytes_per_s`, None for one without a limit. `sent` has
    what left it: (path, offset, bytes), in order."""

    def __init__(self, folder: Path, bytes_per_s: float | None = None) -> None:
        self.folder = folder
        self.bytes_per_s = bytes_per_s
        self.sent: list[tuple[str, int, int]] = []
        self.held = False
        """Sends nothing for now."""
        self.sending = 0
        """Answers that are on their way; one whose client was killed is none any more."""

    def __enter__(self) -> Link:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.link = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def spans(self, end: str) -> list[tuple[int, int]]:
        """(offset, bytes) of all that was sent of files whose path ends so, in order."""
        return [(offset, count) for path, offset, count in self.sent if path.endswith(end)]

    def waiting_bytes(self) -> int:
        """What lies in the sockets of its connections, on both sides: sent, and not taken by the one who asked."""
        port, found = self._server.server_address[1], 0
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            _, local, remote, _, queues, *_ = line.split()
            ours, theirs = (int(address.rpartition(":")[2], 16) == port for address in (local, remote))
            out, into = (int(queue, 16) for queue in queues.split(":"))
            found += out * ours + into * theirs
        return found


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    link: Link

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that are killed are what is measured."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        # What lies in the system's buffers is neither here nor there: little, as on a real line.
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        super().setup()

    def do_GET(self) -> None:
        path = self.server.link.folder / self.path.lstrip("/")
        if not path.is_file():
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        size = path.stat().st_size
        found = _RANGE.fullmatch(self.headers.get("Range", ""))
        first, end = (int(found[1]), min(int(found[2]) + 1, size)) if found else (0, size)
        self.send_response(206 if found else 200)
        if found:
            self.send_header("Content-Range", f"bytes {first}-{end - 1}/{size}")
        self.send_header("Content-Length", str(end - first))
        self.end_headers()
        self.server.link.sending += 1
        try:
            with path.open("rb") as file:
                self._send(file, first, end)
        finally:
            self.server.link.sending -= 1

    def _send(self, file: Any, first: int, end: int) -> None:
        link, began, at = self.server.link, time.monotonic(), first
        file.seek(first)
        while at < end and (piece := file.read(min(_PIECE_BYTES, end - at))):
            if link.bytes_per_s is not None:
                time.sleep(max(0.0, began + (at - first) / link.bytes_per_s - time.monotonic()))
            while link.held:
                time.sleep(0.001)
            self.wfile.write(piece)
            link.sent.append((self.path, at, len(piece)))
            at += len(piece)

    def log_message(self, format: str, *args: object) -> None:
        pass


def again_bytes(before: Sequence[tuple[int, int]], after: Sequence[tuple[int, int]]) -> int:
    """How much of what was sent `before` is sent `after` once more, of spans (offset, bytes)."""
    first, second = union_bytes(before), union_bytes(after)
    return first + second - union_bytes([*before, *after])


def union_bytes(spans: Iterable[tuple[int, int]]) -> int:
    covered = end = 0
    for offset, count in sorted(spans):
        covered += max(0, offset + count - max(offset, end))
        end = max(end, offset + count)
    return covered
