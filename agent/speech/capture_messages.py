"""What the capturing process tells the daemon, framed as the workers' messages are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from agent.runtime.wire.errors import WireError
from agent.runtime.wire.frames import HEADER, FrameReader
from agent.speech.devices import InputDevice


class Opened(msgspec.Struct, frozen=True, kw_only=True, tag="opened"):
    """The first sound has come. `rate_hz` and `channels` are the device's."""

    device: InputDevice
    rate_hz: int
    channels: int


class Captured(msgspec.Struct, frozen=True, kw_only=True, tag="captured"):
    """16-bit PCM, 16 kHz, one channel. `heard_at` is the monotonic time at which its end arrived. `overrun` and
    `late` samples (16 kHz) are missing before it: not taken in time, or never delivered by the clock."""

    pcm: bytes
    heard_at: float
    overrun: int = 0
    late: int = 0


class CaptureFailed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    error: WireError


class Devices(msgspec.Struct, frozen=True, kw_only=True, tag="devices"):
    devices: tuple[InputDevice, ...]


CaptureMessage = Opened | Captured | CaptureFailed | Devices

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[CaptureMessage])


def encode(messages: Sequence[CaptureMessage]) -> bytes:
    body = _encoder.encode(messages)
    return HEADER.pack(len(body)) + body


class CaptureReader:
    """Bytes in, messages out. Raises `ValueError` for what the capturing process never sends."""

    def __init__(self) -> None:
        self._frames = FrameReader()

    def feed(self, data: bytes) -> Iterator[CaptureMessage]:
        for body in self._frames.feed(data):
            yield from _decoder.decode(body)
