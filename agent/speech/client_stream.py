"""Sound that a client sends itself: its messages checked, its blocks handed over one at a time."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

import msgspec

from agent.errors import RequestError
from agent.speech.pcm import BYTES_PER_INT16
from agent.speech.source import Block

MESSAGE_LIMIT_BYTES: Final = 1024 * 1024
"""33 s of sound. A client that records sends 100 ms (3,200 bytes) at a time."""
UNSUPPORTED_DATA: Final = 1003
INVALID_DATA: Final = 1007
POLICY_VIOLATION: Final = 1008
"""Close codes of RFC 6455, 7.4.1."""
_SHOWN_CHARACTERS = 60


class BadMessageError(RequestError):
    """A message that ends the stream; `close_code` is a WebSocket's."""

    def __init__(self, message: str, *, close_code: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.close_code = close_code


class End(msgspec.Struct, frozen=True, tag="end"):
    """To the client: everything that it sent has been transcribed."""


class StreamFailure(msgspec.Struct, frozen=True, kw_only=True, tag="error"):
    """To the client: why the stream ends. `events.Failure`, which is about a segment, lets it go on."""

    segment: None = None
    code: str
    message: str
    hint: str


def check_text(text: str) -> None:
    """Returns for the one message in words that there is, `{"type": "finish"}`. Raises `BadMessageError`."""
    with suppress(msgspec.DecodeError, RecursionError, UnicodeError):
        if msgspec.json.decode(text) == {"type": "finish"}:
            return
    shown = text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
    raise BadMessageError(
        f"The text message {shown!r} is not understood.",
        hint='Send sound in binary messages, and {"type": "finish"} after the last one.',
        close_code=UNSUPPORTED_DATA,
    )


class ClientSound:
    """`async for block in sound`, while somebody pushes. At most two messages are held: whoever pushes waits."""

    def __init__(self) -> None:
        self._blocks: asyncio.Queue[Block | None] = asyncio.Queue(1)

    async def push(self, pcm: bytes, heard_at: float) -> None:
        """16-bit PCM, 16 kHz, one channel; `heard_at` is the monotonic time at which it came.

        Returns once the block before it has been taken. Raises `BadMessageError` for half a sample.
        """
        if len(pcm) % BYTES_PER_INT16:
            raise BadMessageError(
                f"A message of {len(pcm)} bytes is not 16-bit PCM: the number of bytes is odd.",
                hint="Send signed 16-bit little-endian samples, one channel, 16 kHz, and whole samples per message.",
                close_code=INVALID_DATA,
            )
        if pcm:
            await self._blocks.put(Block(pcm, heard_at))

    async def end(self) -> None:
        """No more sound; returns once the last block has been taken."""
        await self._blocks.put(None)

    def __aiter__(self) -> ClientSound:
        return self

    async def __anext__(self) -> Block:
        block = await self._blocks.get()
        if block is None:
            raise StopAsyncIteration
        return block
