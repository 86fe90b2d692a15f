"""One TCP connection, guarded before any request exists: count, size of the head, time to send it.

aiohttp limits single header lines and idle time between requests, but not a head that trickles in (slow loris) nor its
whole size, and it takes any number of connections. This protocol stands in front of aiohttp's and passes everything on.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus

from agent.api.drain import Drain
from agent.api.openai_errors import envelope
from agent.api.settings import ApiSettings
from agent.errors import EdgeAgentError, RequestError, UnavailableError

_HEAD_END = b"\r\n\r\n"
_LINGERING_S = 1.0


class _SlowHeadError(RequestError):
    status = 408
    code = "request_timeout"


class _LongHeadError(RequestError):
    status = 431
    code = "headers_too_large"


@dataclass
class ConnectionCount:
    """How many connections are open now, and how many the guard has turned away since the start.

    `streams` is entered by audio streams over WebSocket.
    """

    open: int = 0
    streams: Drain = field(default_factory=Drain)
    refused: int = 0
    timed_out: int = 0


class Connection(asyncio.Protocol):
    """Passes a connection's events to `inner` (aiohttp's protocol) while they stay within `settings`."""

    def __init__(self, inner: asyncio.Protocol, settings: ApiSettings, count: ConnectionCount) -> None:
        self._inner = inner
        self._settings = settings
        self._count = count
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._passing = False
        self._refused = False
        self._in_request = False
        self._head_bytes = 0
        self._tail = b""
        self._timer: asyncio.TimerHandle | None = None

    def request_started(self) -> None:
        """A request's head is complete; its body and its answer have limits of their own."""
        self._in_request = True
        self._stop_timer()

    def request_finished(self) -> None:
        """What comes next is the head of another request."""
        self._in_request = False
        self._head_bytes = 0
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._count.open += 1
        limit = self._settings.connection_limit
        if self._count.open > limit:
            self._refuse(
                UnavailableError(f"There are {limit} connections open already.", hint="Close some, or try again later.")
            )
            return
        self._passing = True
        self._inner.connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._count.open -= 1
        self._stop_timer()
        if self._passing:
            self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if not self._in_request and not self._measure_head(data):
            limit = self._settings.head_limit_bytes
            self._refuse(_LongHeadError(f"The request line and headers take more than {limit} bytes."))
            return
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return None if self._refused else self._inner.eof_received()

    def pause_writing(self) -> None:
        if self._passing:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._passing:
            self._inner.resume_writing()

    def _measure_head(self, data: bytes) -> bool:
        """Counts the bytes of a head that is still coming in; False once there are too many."""
        if not self._head_bytes:
            data = data.lstrip(b"\r\n")
            if not data:
                return True
            if self._timer is None:
                self._start_timer()
        window = self._tail + data
        end = window.find(_HEAD_END)
        if end >= 0:
            self._head_bytes += end + len(_HEAD_END) - len(self._tail)
            self.request_started()
        else:
            self._head_bytes += len(data)
            self._tail = window[-(len(_HEAD_END) - 1) :]
        return self._head_bytes <= self._settings.head_limit_bytes

    def _start_timer(self) -> None:
        self._timer = self._loop.call_later(self._settings.head_timeout_s, self._too_slow)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        self._count.timed_out += 1
        timeout_s = self._settings.head_timeout_s
        self._refuse(_SlowHeadError(f"The headers were not complete after {timeout_s:g} s."))

    def _refuse(self, error: EdgeAgentError) -> None:
        """Answers without aiohttp, and closes."""
        self._refused = True
        self._count.refused += 1
        self._stop_timer()
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if not self._passing:
            transport.write(raw_response(error))
            transport.close()
        elif self._head_bytes:
            # Closing with unread bytes resets the connection, and the answer would be lost: read on a little.
            transport.write(raw_response(error))
            with suppress(OSError):
                transport.write_eof()
            self._timer = self._loop.call_later(_LINGERING_S, transport.abort)
        else:
            transport.close()


def raw_response(error: EdgeAgentError) -> bytes:
    """A complete HTTP/1.1 response that ends the connection."""
    body = envelope(error)
    retry = "Retry-After: 1\r\n" if error.status == 503 else ""
    head = (
        f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n{retry}Connection: close\r\n\r\n"
    )
    return head.encode() + body
