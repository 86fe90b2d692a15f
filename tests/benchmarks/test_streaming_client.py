"""The measuring client reads what a server sends, however it is cut, and notices every way a stream can end."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.client import Exchange, call, exchange_all

EVENTS = 'data: {"choices":[{"text":"é1"}]}\n\ndata: {"choices":[{"delta":{"content":"中"}}]}\n\ndata: [DONE]\n\n'


def chunked(body: bytes, size: int) -> bytes:
    parts = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in parts) + b"0\r\n\r\n"


def answer(body: bytes, kind: str = "text/event-stream", status: str = "200 OK") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n"
    framing = "Transfer-Encoding: chunked" if kind == "text/event-stream" else f"Content-Length: {len(body)}"
    return f"{head}{framing}\r\n\r\n".encode() + (chunked(body, 7) if kind == "text/event-stream" else body)


@contextmanager
def serving(reply: bytes, *, piece: int = 1 << 20, hold: bool = False) -> Iterator[int]:
    """A socket that answers every request with `reply`, `piece` bytes at a time; with `hold` it never closes."""
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.recv(65536)
            for start in range(0, len(reply), piece):
                connection.sendall(reply[start : start + piece])
            if hold:
                ended.wait(5)
            connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


@pytest.mark.parametrize("piece", [1, 3, 1 << 20])
def test_events_are_read_however_the_bytes_arrive(piece: int) -> None:
    with serving(answer(EVENTS.encode()), piece=piece) as port:
        exchange = call(port, "/v1/completions", {"stream": True})
    assert exchange.status == 200
    assert exchange.text() == "é1中"
    assert exchange.finished
    assert not exchange.error
    assert 0 < exchange.first_text_s < 5


def test_a_body_with_a_length_is_read_and_its_error_found() -> None:
    body = b'{"error": {"message": "full", "code": "queue_full"}}'
    with serving(answer(body, "application/json", "429 Too Many Requests")) as port:
        exchange = call(port, "/status")
    assert exchange.status == 429
    assert exchange.failure() == {"message": "full", "code": "queue_full"}


def test_a_stream_that_breaks_off_is_an_error() -> None:
    with serving(answer(EVENTS.encode())[:-30]) as port:
        exchange = call(port, "/v1/completions", {})
    assert "before the answer was complete" in exchange.error
    assert not exchange.finished


def test_a_silent_server_is_an_error_after_the_timeout() -> None:
    with serving(b"", hold=True) as port:
        exchange = call(port, "/health", timeout_s=0.2)
    assert "unfinished" in exchange.error


def test_closing_after_events_and_at_a_time() -> None:
    with serving(answer(EVENTS.encode())[:-20], hold=True) as port:
        by_events = Exchange("/", {}, close_after=1)
        exchange_all(port, [by_events], timeout_s=5)
    with serving(answer(EVENTS.encode())[:-20], hold=True) as port:
        by_time = Exchange("/", {}, close_at=0.1)
        exchange_all(port, [by_time], timeout_s=5)
    assert by_events.closed_at - by_events.sent_at < 1
    assert 0.05 < by_time.closed_at - by_time.sent_at < 1
    assert not by_events.error
    assert not by_time.error


def test_nobody_listening_is_an_error_not_an_exception() -> None:
    with serving(b"") as port:
        pass
    assert "cannot connect" in call(port, "/health").error
