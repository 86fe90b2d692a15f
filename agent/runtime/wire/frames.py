"""How messages travel.

A frame is a 4-byte little-endian length and that many bytes of msgpack: one tagged struct, or a list of them. A worker
sends one frame per decode step, so that the daemon wakes once however many streams run.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

import msgspec

from agent.runtime.wire.messages import FromWorker, ToWorker

HEADER = struct.Struct("<I")
MAX_FRAME_BYTES = 256 * 1024 * 1024
_encoder = msgspec.msgpack.Encoder()
_to_worker = msgspec.msgpack.Decoder(list[ToWorker])
_from_worker = msgspec.msgpack.Decoder(list[FromWorker])


def encode(messages: Sequence[ToWorker] | Sequence[FromWorker]) -> bytes:
    """One frame with all `messages` in order."""
    body = _encoder.encode(messages)
    return HEADER.pack(len(body)) + body


class FrameReader:
    """Bytes in, frame bodies out. Raises `ValueError` for a frame longer than `MAX_FRAME_BYTES`."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._buffer += data
        while len(self._buffer) >= HEADER.size:
            (size,) = HEADER.unpack_from(self._buffer)
            if size > MAX_FRAME_BYTES:
                raise ValueError(f"a frame of {size} bytes; the limit is {MAX_FRAME_BYTES}")
            end = HEADER.size + size
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[HEADER.size : end])
            del self._buffer[:end]
            yield body


def decode_to_worker(body: bytes) -> list[ToWorker]:
    """Messages of one frame. Raises `msgspec.ValidationError` for anything that is not one of ours."""
    return _to_worker.decode(body)


def decode_from_worker(body: bytes) -> list[FromWorker]:
    """Messages of one frame. Raises `msgspec.ValidationError` for anything that is not one of ours."""
    return _from_worker.decode(body)
