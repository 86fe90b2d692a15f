"""The connection as the MQTT library sees it: a socket whose bytes have been inspected and are counted."""

from __future__ import annotations

import contextlib
import socket
import ssl

from agent.fleet.link.failure import Kind, LinkFailure, would_block
from agent.fleet.link.inspector import Inspector
from agent.fleet.link.websocket import WebSocket

_READ_BYTES = 65_536
_QUICK_ACK: int | None = getattr(socket, "TCP_QUICKACK", None)
"""Linux only."""


class Stream:
    """Never blocks. What went wrong is kept in `error`: the library tells its callers only that something did."""

    def __init__(self, sock: socket.socket, websocket: WebSocket | None, inspector: Inspector) -> None:
        self._sock = sock
        self._websocket = websocket
        self._wire = websocket or sock
        self._inspector = inspector
        self._buffer = memoryview(b"")
        self._unsendable: OSError | None = None
        """Why nothing can be sent any more. What the broker said last may still have to be read: an alert, a reason."""
        self.error: BaseException | None = None
        self.received_bytes = 0
        self.sent_bytes = 0

    @property
    def buffered(self) -> bool:
        """Whether there is something to read that polling the socket does not show."""
        if self._buffer or self._unsendable:
            return True
        return isinstance(self._sock, ssl.SSLSocket) and self._sock.pending() > 0

    @property
    def wants_write(self) -> bool:
        return self._websocket is not None and self._unsendable is None and self._websocket.wants_write

    def recv(self, size: int) -> bytes:
        """At most `size` bytes; none at the end. Raises `OSError`, or `LinkFailure` for what no broker may send."""
        if not self._buffer:
            try:
                data = self._read()
            except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
                data = b""
            except OSError as error:
                if not would_block(error):
                    self.error = error
                    raise
                if self._unsendable is None:
                    raise BlockingIOError from None
                self.error = self._unsendable
                raise self._unsendable from None
            if not data:
                self.error = LinkFailure(Kind.LOST, "the broker closed the connection")
                return b""
            self.received_bytes += len(data)
            try:
                self._buffer = memoryview(self._inspector.feed(data))
            except LinkFailure as failure:
                self.error = failure
                raise
            if not self._buffer:
                raise BlockingIOError
        piece = bytes(self._buffer[:size])
        self._buffer = self._buffer[size:]
        return piece

    def _read(self) -> bytes:
        """What came is confirmed at once: many brokers hold small messages back until then (Nagle), and the system
        would wait 40 ms for data that could carry the confirmation. It forgets the wish with each read, also with one
        that finds nothing."""
        try:
            return self._wire.recv(_READ_BYTES)
        finally:
            if _QUICK_ACK is not None:
                with contextlib.suppress(OSError):  # the line is dead: the read itself says so
                    self._sock.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)

    def send(self, data: bytes | bytearray) -> int:
        """Where the line is dead, all is taken and nothing sent: reading tells why."""
        try:
            sent = self._wire.send(bytes(data))
        except OSError as error:
            if would_block(error):
                raise BlockingIOError from None
            self._unsendable = error
            return len(data)
        self.sent_bytes += sent
        return sent

    def flush(self) -> None:
        """Sends what the WebSocket holds back."""
        if self._websocket is not None and self._unsendable is None:
            try:
                self._websocket.flush()
            except OSError as error:
                self._unsendable = error

    def close(self) -> None:
        self.flush()
        self._sock.close()

    def fileno(self) -> int:
        return self._sock.fileno()

    def setblocking(self, flag: bool) -> None:
        """It never blocks, whatever the library asks for."""
