"""Clients that ask again as soon as they have their answer, over connections that stay open; all in one thread."""

from __future__ import annotations

import json
import selectors
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False)
class _Client:
    socket: socket.socket
    payloads: Iterator[bytes]
    raw: bytearray = field(default_factory=bytearray)
    sent_at: float = 0.0

    def ask(self) -> bool:
        """Send the next request; False where there is none."""
        payload = next(self.payloads, None)
        if payload is None:
            return False
        head = f"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(payload)}\r\n\r\n"
        self.sent_at = time.perf_counter()
        self.socket.sendall(head.encode() + payload)
        return True

    def answer(self) -> bytes | None:
        """The body, once it is there whole. Raises `RuntimeError` for any status but 200."""
        end = self.raw.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = bytes(self.raw[:end]).lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
        if len(self.raw) < end + 4 + length:
            return None
        body = bytes(self.raw[end + 4 : end + 4 + length])
        del self.raw[: end + 4 + length]
        if b" 200 " not in head[:20]:
            raise RuntimeError(body.decode(errors="replace")[:300])
        return body


def payload(model: str, texts: str | Sequence[str]) -> bytes:
    return json.dumps({"model": model, "input": texts, "encoding_format": "base64"}).encode()


def closed_loop(port: int, requests: Sequence[bytes], clients: int) -> tuple[float, list[float]]:
    """All requests over `clients` connections: the seconds that took, and those of each request."""
    shares = [iter(requests[number::clients]) for number in range(clients)]
    latencies: list[float] = []
    started = time.perf_counter()
    with selectors.DefaultSelector() as selector:
        for share in shares:
            connection = socket.create_connection(("127.0.0.1", port), timeout=120)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client = _Client(connection, share)
            if client.ask():
                selector.register(connection, selectors.EVENT_READ, client)
        while selector.get_map():
            for key, _ in selector.select(120):
                client = key.data
                data = client.socket.recv(1 << 20)
                if not data:
                    raise RuntimeError("the daemon closed a connection")
                client.raw += data
                if client.answer() is None:
                    continue
                latencies.append(time.perf_counter() - client.sent_at)
                if not client.ask():
                    selector.unregister(client.socket)
                    client.socket.close()
    return time.perf_counter() - started, latencies


def vectors_of(body: dict[str, Any]) -> Any:
    """float32 [inputs, dim] of an answer in base64."""
    import base64

    import numpy as np

    return np.stack([np.frombuffer(base64.b64decode(one["embedding"]), "<f4") for one in body["data"]])
