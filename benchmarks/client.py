"""A streaming HTTP client that costs almost nothing: it shares the cores with what it measures.

Many streams run in one thread over non-blocking sockets. Every event's arrival time is the time at which the socket
became readable; JSON is parsed after the run, not during it.
"""

from __future__ import annotations

import json
import selectors
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False)
class Exchange:
    """One request and what came back. Times are `time.perf_counter()` seconds.

    `events` holds (arrival, payload) of every server-sent event; `body` the bytes of any other answer. `error` is set
    where the connection failed or broke off before the answer was complete. `start_at` delays the request, in seconds
    after the call; `close_at` closes the connection then, and `close_after` once that many events have arrived.
    """

    path: str
    payload: dict[str, Any] | None = None
    method: str = "POST"
    start_at: float = 0.0
    close_at: float | None = None
    close_after: int | None = None
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    events: list[tuple[float, bytes]] = field(default_factory=list)
    body: bytes = b""
    sent_at: float = 0.0
    closed_at: float = 0.0
    done: bool = False
    error: str = ""

    def json(self) -> Any:
        """The body as JSON. Raises `ValueError` where it is none."""
        return json.loads(self.body)

    def chunks(self) -> list[tuple[float, dict[str, Any]]]:
        """The events that are JSON objects, parsed; `[DONE]` is left out."""
        return [(at, json.loads(data)) for at, data in self.events if data != b"[DONE]"]

    def pieces(self) -> list[tuple[float, str]]:
        """(arrival, text) of every event that brought text, from either completion endpoint."""
        found = []
        for at, chunk in self.chunks():
            for choice in chunk.get("choices") or ():
                text = choice.get("text") or (choice.get("delta") or {}).get("content")
                if text:
                    found.append((at, text))
        return found

    def text(self) -> str:
        return "".join(text for _, text in self.pieces())

    def failure(self) -> dict[str, Any] | None:
        """The error object that the server sent, as a body or as an event."""
        if self.body:
            try:
                found = json.loads(self.body).get("error")
            except (ValueError, AttributeError):
                return None
            return found if isinstance(found, dict) else None
        return next((chunk["error"] for _, chunk in self.chunks() if "error" in chunk), None)

    @property
    def finished(self) -> bool:
        """Whether the stream came to its regular end."""
        return bool(self.events) and self.events[-1][1] == b"[DONE]"

    @property
    def first_text_s(self) -> float:
        """Seconds from sending to the first text. Raises `IndexError` where none came."""
        return self.pieces()[0][0] - self.sent_at


class _Connection:
    """The state of one exchange on the wire: an HTTP/1.1 answer, chunked or with a length, with or without events."""

    def __init__(self, exchange: Exchange, address: tuple[str, int], api_key: str | None) -> None:
        self.exchange = exchange
        self.socket = socket.create_connection(address, timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._raw = bytearray()
        self._plain = bytearray()
        self._in_body = False
        self._chunked = False
        self._length: int | None = None
        self._streams = False
        content = b"" if exchange.payload is None else json.dumps(exchange.payload).encode()
        lines = [
            f"{exchange.method} {exchange.path} HTTP/1.1", f"Host: {address[0]}:{address[1]}", "Connection: close",
            "Content-Type: application/json", f"Content-Length: {len(content)}",
        ]  # fmt: skip
        if api_key:
            lines.append(f"Authorization: Bearer {api_key}")
        exchange.sent_at = time.perf_counter()
        self.socket.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + content)
        self.socket.setblocking(False)

    def readable(self) -> bool:
        """Take what has arrived; whether the exchange is over."""
        now = time.perf_counter()
        exchange = self.exchange
        try:
            data = self.socket.recv(65536)
        except BlockingIOError:
            return False
        except OSError as error:
            exchange.error = str(error)
            return True
        if not data:
            if not exchange.done:
                exchange.error = "the connection closed before the answer was complete"
            return True
        self._raw += data
        if not self._in_body and not self._read_head():
            return False
        self._read_body()
        self._read_events(now)
        wanted = exchange.close_after
        return exchange.done or (wanted is not None and len(exchange.events) >= wanted)

    def _read_head(self) -> bool:
        end = self._raw.find(b"\r\n\r\n")
        if end < 0:
            return False
        status, *lines = self._raw[:end].decode("latin-1").split("\r\n")
        del self._raw[: end + 4]
        exchange = self.exchange
        exchange.status = int(status.split(" ")[1])
        exchange.headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        self._chunked = exchange.headers.get("transfer-encoding", "").lower() == "chunked"
        self._length = None if self._chunked else int(exchange.headers.get("content-length", "0"))
        self._streams = exchange.headers.get("content-type", "").startswith("text/event-stream")
        self._in_body = True
        return True

    def _read_body(self) -> None:
        if not self._chunked:
            self._plain += self._raw
            self._raw.clear()
            self.exchange.done = len(self._plain) >= (self._length or 0)
            if self.exchange.done:
                self._finish()
            return
        while True:
            line = self._raw.find(b"\r\n")
            if line < 0:
                return
            size = int(self._raw[:line].split(b";")[0], 16)
            if len(self._raw) < line + 2 + size + 2:
                return
            self._plain += self._raw[line + 2 : line + 2 + size]
            del self._raw[: line + 2 + size + 2]
            if size == 0:
                self.exchange.done = True
                self._finish()
                return

    def _finish(self) -> None:
        if not self._streams:
            self.exchange.body = bytes(self._plain)

    def _read_events(self, now: float) -> None:
        if not self._streams:
            return
        while (end := self._plain.find(b"\n\n")) >= 0:
            block = bytes(self._plain[:end])
            del self._plain[: end + 2]
            if block.startswith(b"data:"):
                self.exchange.events.append((now, block[5:].strip()))

    def close(self) -> None:
        self.exchange.closed_at = time.perf_counter()
        self.socket.close()


def exchange_all(
    port: int,
    exchanges: Iterable[Exchange],
    *,
    host: str = "127.0.0.1",
    timeout_s: float = 120.0,
    api_key: str | None = None,
    watch: Callable[[Exchange], None] | None = None,
) -> list[Exchange]:
    """Run all exchanges at once; each starts at its `start_at`, seconds after the call.

    `watch` is called after each read of an exchange. Whatever is unfinished after `timeout_s` gets an `error`. Failed
    connections are recorded in the exchange, not raised.
    """
    exchanges = list(exchanges)
    waiting = sorted(exchanges, key=lambda item: item.start_at, reverse=True)
    origin = time.perf_counter()
    open_connections: set[_Connection] = set()
    with selectors.DefaultSelector() as selector:
        while waiting or open_connections:
            now = time.perf_counter() - origin
            if now > timeout_s:
                break
            while waiting and waiting[-1].start_at <= now:
                exchange = waiting.pop()
                try:
                    connection = _Connection(exchange, (host, port), api_key)
                except OSError as error:
                    exchange.error = f"cannot connect: {error}"
                    continue
                open_connections.add(connection)
                selector.register(connection.socket, selectors.EVENT_READ, connection)
            if not open_connections and not waiting:
                break
            closing = [at for at in (item.exchange.close_at for item in open_connections) if at is not None]
            next_at = min([*closing, timeout_s, *(item.start_at for item in waiting[-1:])])
            ready = [key.data for key, _ in selector.select(max(0.0, next_at - now))]
            over = [connection for connection in ready if connection.readable()]
            if watch is not None:
                for connection in ready:
                    watch(connection.exchange)
            if closing:
                now = time.perf_counter() - origin
                over += [item for item in open_connections if (item.exchange.close_at or timeout_s) <= now]
            for connection in over:
                if connection in open_connections:
                    selector.unregister(connection.socket)
                    connection.close()
                    open_connections.discard(connection)
        for connection in open_connections:
            connection.exchange.error = f"unfinished after {timeout_s:g} s"
            connection.close()
    for exchange in waiting:
        exchange.error = f"not started within {timeout_s:g} s"
    return exchanges


def call(
    port: int,
    path: str,
    payload: dict[str, Any] | None = None,
    *,
    method: str | None = None,
    timeout_s: float = 120.0,
    api_key: str | None = None,
) -> Exchange:
    """One exchange, waited for: GET without a payload and POST with one, unless `method` says otherwise."""
    exchange = Exchange(path, payload, method=method or ("GET" if payload is None else "POST"))
    return exchange_all(port, [exchange], timeout_s=timeout_s, api_key=api_key)[0]
