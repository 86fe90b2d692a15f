"""A hub on this machine: what huggingface_hub asks the real one, and the storage that large files are redirected to.

Two servers, because the storage is another host: it gets no token, and gives ranges. Bytes sent are counted.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE_BYTES = 10_000
"""From here on a file is in large file storage, and known by its SHA-256."""
PIECE_BYTES = 32 * 1024


@dataclass
class Hub:
    """Repositories by name, each with its files by path; `cards` are their model cards' settings.

    What can go wrong: `private` ones answer 401 as if they were not there unless the token is right; `gated` ones are
    listed, and their files answer 403; `status` is what storage answers instead of a file, as often as `refusals`
    says; `cut_after` ends a connection after so many bytes of a large file, as often as `cuts`; `spoiled` is the path
    of a file whose last byte is changed; `loops` redirects for ever; `no_ranges` sends from the beginning always;
    `pause_s` is waited after each piece; `silent` leaves out sizes and hashes in the listing.
    """

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    cards: dict[str, dict[str, Any]] = field(default_factory=dict)
    revisions: set[str] = field(default_factory=lambda: {"main", COMMIT})
    private: set[str] = field(default_factory=set)
    gated: set[str] = field(default_factory=set)
    token: str = "hf_secret"
    status: int = 0
    refusals: int = 0
    cut_after: int = 0
    cuts: int = 0
    spoiled: str = ""
    loops: bool = False
    no_ranges: bool = False
    pause_s: float = 0.0
    silent: bool = False
    url: str = ""
    storage_url: str = ""
    asked: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=dict)
    storage_tokens: list[str] = field(default_factory=list)

    @property
    def sent_bytes(self) -> int:
        return sum(self.sent.values())

    def forget(self) -> None:
        """What was asked and sent so far."""
        self.asked.clear()
        self.ranges.clear()
        self.sent.clear()

    def environment(self, **more: str) -> dict[str, str]:
        """For a process that shall find this hub, and nothing else."""
        nowhere = "http://127.0.0.1:9"
        proxies = {"HTTP_PROXY": nowhere, "HTTPS_PROXY": nowhere, "NO_PROXY": "127.0.0.1,localhost"}
        return {"HF_ENDPOINT": self.url, "HF_TOKEN": "", "HF_HUB_OFFLINE": "", **proxies, **more}


@contextmanager
def running(hub: Hub) -> Iterator[Hub]:
    servers = [_Server(("127.0.0.1", 0), type(kind.__name__, (kind,), {"hub": hub})) for kind in (_Pages, _Storage)]
    ports = [server.server_address[1] for server in servers]
    hub.url, hub.storage_url = f"http://127.0.0.1:{ports[0]}", f"http://localhost:{ports[1]}"
    for server in servers:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield hub
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def blob_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is what some tests are about."""


class _Answers(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        raise NotImplementedError

    def send(self, status: int, headers: dict[str, str], data: bytes = b"", length: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def send_file(self, path: str, data: bytes, headers: dict[str, str]) -> None:
        """A file from where the range begins, in pieces, counted."""
        hub, start = self.hub, 0
        whole = len(data)
        if path == hub.spoiled:
            data = data[:-1] + bytes([data[-1] ^ 1])
        asked = self.headers.get("Range", "")
        if self.command == "GET" and whole >= LARGE_BYTES:
            hub.ranges.append(asked)
        if (match := re.fullmatch(r"bytes=(\d+)-", asked)) and not hub.no_ranges:
            start = int(match[1])
            headers = {**headers, "Content-Range": f"bytes {start}-{whole - 1}/{whole}"}
        self.send(206 if start else 200, {**headers, "Accept-Ranges": "bytes"}, b"", whole - start)
        if self.command == "HEAD":
            return
        end = whole
        if hub.cuts and whole >= LARGE_BYTES and hub.cut_after < whole - start:
            hub.cuts -= 1
            end = start + hub.cut_after
            self.close_connection = True
        for at in range(start, end, PIECE_BYTES):
            piece = data[at : min(at + PIECE_BYTES, end)]
            self.wfile.write(piece)
            hub.sent[path] = hub.sent.get(path, 0) + len(piece)
            time.sleep(hub.pause_s)
        if end < whole:
            self.connection.shutdown(2)


class _Pages(_Answers):
    def answer(self) -> None:
        path = self.path.partition("?")[0]
        self.hub.asked.append(path)
        if self.hub.loops:
            self.send(307, {"Location": self.path})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
            self._about(match[1], match[2] or "main")
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._file(match[1], match[2], match[3])
        else:
            self.send(404, {}, b"{}")

    def _about(self, repository: str, revision: str) -> None:
        if not self._allowed(repository, revision):
            return
        files = self.hub.repositories[repository]
        value = {
            "id": repository,
            "sha": COMMIT,
            "private": False,
            "cardData": self.hub.cards.get(repository),
            "siblings": [{"rfilename": path, **self._facts(data)} for path, data in files.items()],
        }
        self.send(200, {"Content-Type": "application/json"}, json.dumps(value).encode())

    def _facts(self, data: bytes) -> dict[str, Any]:
        if self.hub.silent:
            return {}
        facts: dict[str, Any] = {"size": len(data), "blobId": blob_sha1(data)}
        if len(data) >= LARGE_BYTES:
            facts["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
        return facts

    def _file(self, repository: str, revision: str, path: str) -> None:
        if not self._allowed(repository, revision):
            return
        if repository in self.hub.gated and not self._authorized():
            self.send(403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted."}, b"{}")
            return
        data = self.hub.repositories[repository].get(path)
        if data is None:
            self.send(404, {"X-Error-Code": "EntryNotFound"}, b"")
            return
        headers = {"X-Repo-Commit": COMMIT}
        if len(data) < LARGE_BYTES:
            self.send_file(path, data, {**headers, "ETag": f'"{blob_sha1(data)}"'})
            return
        digest = hashlib.sha256(data).hexdigest()
        linked = {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(data))}
        self.send(302, {**headers, **linked, "Location": f"{self.hub.storage_url}/{digest}?signature=1"})

    def _authorized(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {self.hub.token}"

    def _allowed(self, repository: str, revision: str) -> bool:
        hidden = repository in self.hub.private and not self._authorized()
        if hidden or repository not in self.hub.repositories:
            self.send(401 if hidden else 404, {"X-Error-Code": "RepoNotFound"}, b"{}")
        elif revision not in self.hub.revisions:
            self.send(404, {"X-Error-Code": "RevisionNotFound"}, b"{}")
        else:
            return True
        return False


class _Storage(_Answers):
    def answer(self) -> None:
        hub = self.hub
        if "Authorization" in self.headers:
            hub.storage_tokens.append(self.headers["Authorization"])
        if hub.refusals:
            hub.refusals -= 1
            self.send(hub.status, {}, b"no")
            return
        wanted = self.path.partition("?")[0].strip("/")
        for files in hub.repositories.values():
            for path, data in files.items():
                if len(data) >= LARGE_BYTES and hashlib.sha256(data).hexdigest() == wanted:
                    self.send_file(path, data, {"ETag": f'"{wanted}"'})
                    return
        self.send(404, {}, b"")
