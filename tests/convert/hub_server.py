"""A small hub on this machine: the calls of Hugging Face's API that a download makes, and what can go wrong."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE_BYTES = 100_000
"""From here on a file is in large file storage, and has a SHA-256."""


@dataclass
class Hub:
    """Repositories by id, each with its files by name; `gated` ones answer 401.

    `drop_after` cuts the connection once so many bytes of a large file were sent, as often as `drops` says;
    `spoil` sends other bytes than were promised. `ranges` are the Range headers that were asked for ("" for none).
    """

    repositories: dict[str, dict[str, bytes]]
    gated: set[str] = field(default_factory=set)
    drop_after: int = 0
    drops: int = 0
    spoil: bool = False
    failing: bool = False
    ranges: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def serve_forever(self) -> ThreadingHTTPServer:
        handler = type("Handler", (_Handler,), {"hub": self})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return server


@contextmanager
def running(hub: Hub) -> Iterator[Hub]:
    server = hub.serve_forever()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        self.hub.asked.append(path)
        if self.hub.failing:
            self._send(503, {}, b"busy", body)
            return
        if match := re.fullmatch(r"/api/models/(.+?)(?:/(revision|tree)/([^/]+))?", path):
            self._api(match[1], match[2], match[3] or "main", body)
            return
        if match := re.fullmatch(r"/(.+?)/resolve/([^/]+)/(.+)", path):
            self._file(match[1], match[3], body)
            return
        self._send(404, {}, b"", body)

    def _api(self, repository: str, what: str | None, revision: str, body: bool) -> None:
        if not self._allowed(repository, revision, body):
            return
        files = self.hub.repositories[repository]
        if what == "tree":
            value: Any = [
                {"type": "file", "path": name, "size": len(data), "oid": _git_hash(data), **_lfs(data)}
                for name, data in files.items()
            ]
        else:
            siblings = [
                {"rfilename": name, "size": len(data), "blobId": _git_hash(data), **_lfs(data)}
                for name, data in files.items()
            ]
            value = {"id": repository, "sha": COMMIT, "siblings": siblings, "private": False}
        self._send(200, {"Content-Type": "application/json"}, json.dumps(value).encode(), body)

    def _file(self, repository: str, name: str, body: bool) -> None:
        if not self._allowed(repository, "main", body):
            return
        data = self.hub.repositories[repository].get(name)
        if data is None:
            self._send(404, {"X-Error-Code": "EntryNotFound"}, b"", body)
            return
        tag = sha256(data) if len(data) >= LARGE_BYTES else _git_hash(data)
        headers = {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        start = 0
        if body:
            asked = self.headers.get("Range", "")
            if len(data) >= LARGE_BYTES:
                self.hub.ranges.append(asked)
            if match := re.fullmatch(r"bytes=(\d+)-\d*", asked):
                start = int(match[1])
                headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        if body and self.hub.spoil and len(data) >= LARGE_BYTES:
            data = bytes(len(data))
        self._send(206 if start else 200, headers, data[start:], body)

    def _allowed(self, repository: str, revision: str, body: bool) -> bool:
        if repository in self.hub.gated:
            self._send(401, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted."}, b"{}", body)
        elif repository not in self.hub.repositories:
            self._send(404, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}, b"{}", body)
        elif revision not in ("main", COMMIT):
            self._send(404, {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id"}, b"{}", body)
        else:
            return True
        return False

    def _send(self, status: int, headers: dict[str, str], data: bytes, body: bool) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if not body:
            return
        if self.hub.drops > 0 and len(data) > self.hub.drop_after > 0:
            self.hub.drops -= 1
            self.wfile.write(data[: self.hub.drop_after])
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(2)
            return
        self.wfile.write(data)


def _git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _lfs(data: bytes) -> dict[str, Any]:
    if len(data) < LARGE_BYTES:
        return {}
    return {"lfs": {"oid": sha256(data), "sha256": sha256(data), "size": len(data), "pointerSize": 130}}
