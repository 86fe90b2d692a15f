"""Requests to one server: a connection each, all in one event loop, every event stamped as it arrives."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import socket
import ssl
import time
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from agent.bench.response import Response
from agent.errors import RequestError, UnavailableError

CONNECT_S: Final = 10.0
LIMIT_S: Final = 900.0
"""Longest time for one answer: a large model that loads from an SD card, then a long prompt."""

JSON: Final = "application/json"


class GoneError(UnavailableError):
    """No connection: the next request will not do better."""


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One request and its answer. Times are `time.perf_counter()` seconds; `began_s` is before the connection was
    made, `sent_s` as the request left, `ended_s` when the last byte had come. `error` says why there is no whole
    answer."""

    began_s: float
    sent_s: float
    ended_s: float
    response: Response
    error: str = ""

    def json(self) -> Any:
        """The body as JSON. Raises `ValueError` where it is none."""
        return json.loads(self.response.body)


class Http:
    """The server at `url`, with or without `/v1` at its end. Raises `RequestError` for what is no such address."""

    def __init__(self, url: str, *, key: str | None = None) -> None:
        address = urlsplit(url if "://" in url else f"http://{url}")
        try:
            port = address.port
        except ValueError:
            port = -1
        if address.scheme not in ("http", "https") or not address.hostname or port == -1:
            raise RequestError(f"{url!r} is no address of a server.", hint="It looks like http://127.0.0.1:11434.")
        secure = address.scheme == "https"
        self.host = address.hostname
        self.port = port or (443 if secure else 80)
        self._tls = ssl.create_default_context() if secure else None
        self._prefix = address.path.rstrip("/").removesuffix("/v1")
        name = f"[{self.host}]" if ":" in self.host else self.host
        self.url = f"{address.scheme}://{name}:{self.port}{self._prefix}"
        common = [f"Host: {name}:{self.port}", "Connection: close", "X-Client-Id: edge-agent-bench"]
        if key:
            if not key.isascii() or not key.isprintable():
                raise RequestError("The key has characters that no header can carry.")
            common.append(f"Authorization: Bearer {key}")
        self._common = "\r\n".join(common)

    @property
    def local(self) -> bool:
        """Whether the server is on this machine."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    async def get(self, path: str, *, limit_s: float = 30.0) -> Exchange:
        return await self._exchange("GET", path, b"", JSON, limit_s)

    async def post(self, path: str, body: Any, *, limit_s: float = LIMIT_S) -> Exchange:
        """`body` becomes JSON."""
        return await self._exchange("POST", path, json.dumps(body).encode(), JSON, limit_s)

    async def upload(self, path: str, body: bytes, content_type: str, *, limit_s: float = LIMIT_S) -> Exchange:
        return await self._exchange("POST", path, body, content_type, limit_s)

    async def _exchange(self, method: str, path: str, body: bytes, content_type: str, limit_s: float) -> Exchange:
        """Raises `GoneError` where no connection can be made; anything later is the exchange's `error`."""
        head = f"{method} {self._prefix}{path} HTTP/1.1\r\n{self._common}\r\n"
        if body or method == "POST":
            head += f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
        loop = asyncio.get_running_loop()
        over: asyncio.Future[str] = loop.create_future()
        response = Response()
        began_s = time.perf_counter()
        try:
            async with asyncio.timeout(CONNECT_S):
                transport, _ = await loop.create_connection(
                    lambda: _Connection(response, over), self.host, self.port, ssl=self._tls
                )
        except TimeoutError:
            raise GoneError(f"{self.url} does not answer within {CONNECT_S:g} s.") from None
        except OSError as error:
            raise GoneError(f"Nobody answers at {self.url}: {_reason(error)}.", hint="Is the server running?") from None
        try:
            transport.write(head.encode("latin-1", "replace") + b"\r\n" + body)
            sent_s = time.perf_counter()
            try:
                async with asyncio.timeout(limit_s):
                    error_text = await over
            except TimeoutError:
                error_text = f"no whole answer came within {limit_s:g} s"
        finally:
            transport.abort()
        ended_s = time.perf_counter()
        return Exchange(began_s=began_s, sent_s=sent_s, ended_s=ended_s, response=response, error=error_text)


class _Connection(asyncio.Protocol):
    """Resolves `over` with an empty text when the answer is whole, else with what is wrong."""

    def __init__(self, response: Response, over: asyncio.Future[str]) -> None:
        self._response = response
        self._over = over

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        try:
            self._response.feed(data, now)
        except ValueError as error:
            self._end(str(error))
            return
        if self._response.complete:
            self._end("")

    def connection_lost(self, error: Exception | None) -> None:
        if self._over.done():
            return
        try:
            self._response.end(time.perf_counter())
        except ValueError as failure:
            self._end(_reason(error) if isinstance(error, OSError) else str(failure))
        else:
            self._end("")

    def _end(self, text: str) -> None:
        if not self._over.done():
            self._over.set_result(text)


def _reason(error: OSError) -> str:
    """asyncio puts addresses into `strerror`; the number says it better. Errors of names and of TLS have no number."""
    if error.errno is not None and error.errno > 0 and not isinstance(error, ssl.SSLError | socket.gaierror):
        return os.strerror(error.errno).lower()
    return (error.strerror or str(error) or type(error).__name__).rstrip(".").lower()
