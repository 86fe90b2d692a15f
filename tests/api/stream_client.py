"""Clients of the audio stream: one that behaves, and one that sends whatever bytes the test wants."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import struct
from dataclasses import dataclass
from typing import Any

import aiohttp

from agent.runtime.wire.transcription import Segment, Transcribe, Transcribed
from tests.api.conftest import Server

PATH = "/v1/audio/stream"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def said(text: str, request: Transcribe) -> Transcribed:
    """The answer to a pass: one segment with `text`."""
    end_s = len(request.audio) / 4 / 16_000
    return Transcribed(
        id=request.id,
        language="en",
        language_probability=1.0,
        audio_s=end_s,
        segments=(Segment(start_s=0.0, end_s=end_s, text=text),),
        completion_tokens=3,
        encode_s=0.0,
        decode_s=0.0,
    )


class Hearing:
    """Answers every pass with `text`, once `allowed` is set."""

    def __init__(self, text: str = "yes") -> None:
        self.text = text
        self.requests: list[Transcribe] = []
        self.allowed = asyncio.Event()
        self.allowed.set()

    async def __call__(self, request: Transcribe) -> Transcribed:
        self.requests.append(request)
        await self.allowed.wait()
        return said(self.text, request)


async def connect(server: Server, query: str = "", **options: Any) -> aiohttp.ClientWebSocketResponse:
    return await server.http.ws_connect(f"{server.url}{PATH}{query}", **options)


async def rest(socket: aiohttp.ClientWebSocketResponse) -> list[dict[str, Any]]:
    """All events up to the close frame."""
    async with asyncio.timeout(10):
        return [json.loads(message.data) async for message in socket]


async def refused(server: Server, query: str = "", **headers: str) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, error and headers of a request for a WebSocket that is not granted."""
    asked = {**HANDSHAKE, **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with server.http.get(f"{server.url}{PATH}{query}", headers=asked) as response:
        return response.status, (await response.json())["error"], dict(response.headers)


HANDSHAKE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
}


@dataclass
class RawClient:
    """The protocol by hand."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def open(cls, server: Server, query: str = "") -> RawClient:
        head = "".join(f"{name}: {value}\r\n" for name, value in HANDSHAKE.items())
        reader, writer = await server.raw(f"GET {PATH}{query} HTTP/1.1\r\nHost: localhost\r\n{head}\r\n".encode())
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert b" 101 " in answer
        return cls(reader, writer)

    def send(self, kind: int, payload: bytes, *, first: int = 0x80) -> None:
        """One masked frame; `first` are the upper bits of its first byte."""
        length = len(payload)
        size = bytes([0x80 | length]) if length < 126 else b"\xff" + struct.pack("!Q", length)
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload)) if length < 4096 else payload
        if length >= 4096:
            mask = bytes(4)
        self.writer.write(bytes([first | kind]) + size + mask + masked)

    async def receive(self) -> tuple[int, bytes]:
        """The next frame. Raises `asyncio.IncompleteReadError` at the end of the connection."""
        async with asyncio.timeout(10):
            first, second = await self.reader.readexactly(2)
            length = second
            if length == 126:
                (length,) = struct.unpack("!H", await self.reader.readexactly(2))
            elif length == 127:
                (length,) = struct.unpack("!Q", await self.reader.readexactly(8))
            return first & 15, await self.reader.readexactly(length)

    async def rest(self) -> tuple[list[dict[str, Any]], int]:
        """The events up to the close frame, and its code."""
        events = []
        while True:
            kind, payload = await self.receive()
            if kind == TEXT:
                events.append(json.loads(payload))
            elif kind == CLOSE:
                return events, int.from_bytes(payload[:2], "big")
