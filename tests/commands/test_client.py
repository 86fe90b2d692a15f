"""The command line's HTTP client against servers that misbehave."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator

import pytest

from agent.commands.client import Client
from agent.errors import (
    EdgeAgentError,
    ModelNotFoundError,
    QueueFullError,
    UnauthorizedError,
    UnavailableError,
)


@contextlib.contextmanager
def server_that_says(answer: bytes) -> Iterator[str]:
    """Reads one request, sends `answer`, closes."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer_once() -> None:
            connection, _ = listening.accept()
            with connection:
                received = b""
                while b"\r\n\r\n" not in received:
                    received += connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=answer_once)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread.join(10)


def response(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


def envelope(code: str, message: str = "No.") -> bytes:
    return json.dumps({"error": {"message": message, "type": "x", "param": None, "code": code}}).encode()


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (response(envelope("model_not_found"), "404 Not Found"), ModelNotFoundError, ["No."]),
        (response(envelope("queue_full"), "429 Busy", "Retry-After: 7\r\n"), QueueFullError, ["No."]),
        (response(envelope("invalid_api_key"), "401 No"), UnauthorizedError, ["--api-key"]),
        (response(envelope("from_the_future"), "418 Teapot"), EdgeAgentError, ["No."]),
        (response(b'{"error": "x"}', "500 Oops"), EdgeAgentError, ["status 500"]),
        (response(b"<html>", "502 Bad Gateway"), UnavailableError, ["not edge-agent", "--port"]),
        (response(b"<html>"), UnavailableError, ["not edge-agent"]),
        (b"SSH-2.0-OpenSSH_9.2\r\n", UnavailableError, ["failed"]),
        (b"", UnavailableError, ["failed"]),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", UnavailableError, ["failed"]),
    ],
)
def test_every_answer_becomes_one_clear_error(answer: bytes, kind: type[EdgeAgentError], words: list[str]) -> None:
    with server_that_says(answer) as url, pytest.raises(kind) as caught:
        Client(url).get("/status")
    for word in words:
        assert word in str(caught.value)


def test_retry_after_is_kept() -> None:
    with server_that_says(response(envelope("queue_full"), "429 Busy", "Retry-After: 7\r\n")) as url:
        with pytest.raises(QueueFullError) as caught:
            Client(url).get("/status")
    assert caught.value.retry_after_s == 7


def test_nobody_there_says_how_to_start() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(UnavailableError, match="edge-agent serve"):
        Client(url).get("/status")


def test_a_server_that_never_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(UnavailableError, match="does not answer"):
            Client(url).get("/status", timeout_s=0.2)


def test_events_come_one_by_one_and_end_with_done() -> None:
    body = b': hi\n\ndata: {"a": 1}\n\ndata:{"a": 2}\n\ndata: [DONE]\n\ndata: {"a": 3}\n\n'
    with server_that_says(response(body)) as url:
        assert list(Client(url).stream("/x", {})) == [{"a": 1}, {"a": 2}]


def test_an_error_in_mid_stream_is_raised_after_what_came_before() -> None:
    body = b'data: {"a": 1}\n\ndata: ' + envelope("worker_crashed") + b"\n\n"
    with server_that_says(response(body)) as url:
        events = Client(url).stream("/x", {})
        assert next(events) == {"a": 1}
        with pytest.raises(EdgeAgentError) as caught:
            next(events)
    assert caught.value.code == "worker_crashed"


def test_a_stream_that_breaks_off_is_an_error() -> None:
    with server_that_says(response(b'data: {"a": 1}\n\n')) as url:
        with pytest.raises(UnavailableError, match="mid-answer"):
            list(Client(url).stream("/x", {}))
