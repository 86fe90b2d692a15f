from __future__ import annotations

import pytest

from agent.bench.response import Response

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


PLAIN = b'HTTP/1.1 404 Not Found\r\nContent-Length: 13\r\nRetry-After: 2\r\n\r\n{"error": {}}'
CHUNKED = STREAM + chunk(b'data: {"a": 1}\n\n') + chunk(b"data: 2\n\ndata:") + chunk(b" 3\n\n") + chunk(b"")
COMMENTS = STREAM + chunk(b": here\n\nevent: x\r\ndata: 1\r\n\r\n") + chunk(b"data: [DONE]\n\n")
UNTIL_CLOSED = b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\ndata: 2"


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(
    ("wire", "status", "events", "body", "complete"),
    [
        (PLAIN, 404, [], b'{"error": {}}', True),
        (CHUNKED, 200, [b'{"a": 1}', b"2", b"3"], b"", True),
        (COMMENTS, 200, [b"1", b"[DONE]"], b"", True),
        (UNTIL_CLOSED, 200, [b"1", b"2"], b"", False),
    ],
)
def test_answers_are_read_however_they_are_cut(
    wire: bytes, status: int, events: list[bytes], body: bytes, complete: bool, size: int
) -> None:
    response = Response()
    for start in range(0, len(wire), size):
        response.feed(wire[start : start + size], float(start))
    assert response.complete == complete
    response.end(1e9)
    assert (response.status, [data for _, data in response.events]) == (status, events)
    if not response.events:
        assert bytes(response.body) == body


def test_an_event_has_the_time_of_its_last_byte() -> None:
    response = Response()
    response.feed(STREAM + b"8\r\nda", 1.0)
    response.feed(b"ta: 1\n\r\n", 2.0)
    assert response.events == [(2.0, b"1")]


@pytest.mark.parametrize(
    "wire",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        STREAM + b"-5\r\nhello\r\n",
        STREAM + b"zz\r\nhello\r\n",
        b"x" * 70_000,
    ],
)
def test_what_is_no_http_is_refused(wire: bytes) -> None:
    with pytest.raises(ValueError):
        Response().feed(wire, 0.0)


@pytest.mark.parametrize("wire", [b"", b"HTTP/1.1 200", CHUNKED[:-5], PLAIN[:-1]])
def test_an_answer_that_breaks_off_is_not_complete(wire: bytes) -> None:
    response = Response()
    response.feed(wire, 0.0)
    with pytest.raises(ValueError, match="before the answer was complete"):
        response.end(0.0)
