"""MQTT in binary WebSocket frames (RFC 6455): a client's upgrade and frames, over a socket that does not block."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import struct
from typing import Final, Protocol

from agent.fleet.link.address import Address
from agent.fleet.link.failure import Kind, LinkFailure, would_block

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_HEAD_BYTES: Final = 16_384
_FRAME_BYTES: Final = 65_536
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_CONTROL_BYTES: Final = 125


class Socket(Protocol):
    """Raises `BlockingIOError`, or what `ssl` has for it, instead of waiting."""

    def recv(self, size: int, /) -> bytes: ...
    def send(self, data: bytes, /) -> int: ...


class Upgrade:
    """The HTTP exchange before the first frame. Pure."""

    def __init__(self, address: Address, key: bytes | None = None) -> None:
        self._key = base64.b64encode(key or os.urandom(16))
        self.request = (
            f"GET {address.path} HTTP/1.1\r\nHost: {address.authority}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {self._key.decode()}\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: mqtt\r\n\r\n"
        ).encode("ascii")
        self._head = bytearray()

    def feed(self, data: bytes) -> bytes | None:
        """None until the answer is complete, then what came after it. Raises `LinkFailure` for any other answer."""
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            if len(self._head) > _HEAD_BYTES:
                raise LinkFailure(Kind.PROTOCOL, "the answer to the WebSocket upgrade does not end")
            return None
        status, *lines = bytes(self._head[:end]).split(b"\r\n")
        if not re.match(rb"HTTP/1\.1 101\b", status):
            shown = status[:80].decode("ascii", "replace")
            raise LinkFailure(Kind.UNREACHABLE, f"no WebSocket for MQTT at this address: the answer is {shown!r}")
        fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        expected = base64.b64encode(hashlib.sha1(self._key + _GUID).digest())
        if fields.get(b"sec-websocket-accept") != expected or fields.get(b"upgrade", b"").lower() != b"websocket":
            raise LinkFailure(Kind.PROTOCOL, "the answer to the WebSocket upgrade is wrong")
        if fields.get(b"sec-websocket-protocol", b"mqtt") != b"mqtt":
            raise LinkFailure(Kind.PROTOCOL, "the other side of the WebSocket does not speak MQTT")
        return bytes(self._head[end + 4 :])


def frame(opcode: int, payload: bytes, mask: bytes | None = None) -> bytes:
    """One whole frame of a client, masked."""
    mask = mask or os.urandom(4)
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", 0x80 | opcode, 0x80 | size)
    elif size < 65_536:
        head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, size)
    key = (mask * (size // 4 + 1))[:size]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")
    return head + mask + masked.to_bytes(size, "big")


class FrameReader:
    """Frames of a server in, the bytes they carry out; `replies` are frames to send back. Pure."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._opcode = _BINARY
        self._left_bytes = 0
        self._control = bytearray()
        self.replies = bytearray()
        self.closed = False

    def feed(self, data: bytes) -> bytes:
        """Raises `LinkFailure` for what no server may send."""
        out: list[bytes] = []
        at = 0
        while at < len(data) and not self.closed:
            if self._left_bytes:
                piece = data[at : at + self._left_bytes]
                at += len(piece)
                self._left_bytes -= len(piece)
                if self._opcode in (_BINARY, _CONTINUATION):
                    out.append(piece)
                else:
                    self._control += piece
                    if not self._left_bytes:
                        self._answer()
            else:
                self._head.append(data[at])
                at += 1
                self._begin()
        return b"".join(out)

    def _begin(self) -> None:
        head = self._head
        if len(head) < 2:
            return
        size = head[1] & 0x7F
        if len(head) < 2 + {126: 2, 127: 8}.get(size, 0):
            return
        self._opcode = head[0] & 0x0F
        if head[0] & 0x70 or head[1] & 0x80 or self._opcode not in (_CONTINUATION, _BINARY, _CLOSE, _PING, _PONG):
            raise LinkFailure(Kind.PROTOCOL, "the broker sent a WebSocket frame that is not binary, or is masked")
        self._left_bytes = int.from_bytes(head[2:], "big") if size > 125 else size
        if self._opcode >= _CLOSE and self._left_bytes > _CONTROL_BYTES:
            raise LinkFailure(Kind.PROTOCOL, "the broker sent a WebSocket control frame that is too long")
        head.clear()
        self._control.clear()
        if self._opcode >= _CLOSE and not self._left_bytes:
            self._answer()

    def _answer(self) -> None:
        if self._opcode == _PING:
            if len(self.replies) < _FRAME_BYTES:  # who does not read our answers gets no more of them
                self.replies += frame(_PONG, bytes(self._control))
        elif self._opcode == _CLOSE:
            self.closed = True


class WebSocket:
    """Looks like the socket below it, with frames around what is sent."""

    def __init__(self, below: Socket, rest: bytes = b"") -> None:
        self._below = below
        self._reader = FrameReader()
        self._rest = rest
        self._unsent = bytearray()

    @property
    def wants_write(self) -> bool:
        return bool(self._unsent or self._reader.replies)

    def recv(self, size: int) -> bytes:
        data = self._rest or self._below.recv(size)
        self._rest = b""
        if not data:
            return b""
        payload = self._reader.feed(data)
        if payload:
            return payload
        if self._reader.closed:
            return b""
        raise BlockingIOError

    def send(self, data: bytes) -> int:
        """How much of `data` was taken; it may still lie here."""
        self.flush()
        if self._unsent:
            raise BlockingIOError
        piece = bytes(data[:_FRAME_BYTES])
        self._unsent += frame(_BINARY, piece)
        self.flush()
        return len(piece)

    def flush(self) -> None:
        """Sends what lies here, as far as the socket takes it; a reply only between two frames."""
        if not self._unsent:
            self._unsent += self._reader.replies
            self._reader.replies.clear()
        while self._unsent:
            try:
                sent = self._below.send(bytes(self._unsent))
            except OSError as error:
                if would_block(error):
                    return
                raise
            del self._unsent[:sent]
