"""What the decoding process tells the daemon, framed as the workers' messages are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from agent.runtime.wire.errors import WireError
from agent.runtime.wire.frames import HEADER, FrameReader


class AudioInfo(msgspec.Struct, frozen=True, kw_only=True, tag="info"):
    """The file as it says it is. `duration_s` None: its header does not tell."""

    format: str
    rate_hz: int
    channels: int
    duration_s: float | None


class Frames(msgspec.Struct, frozen=True, kw_only=True, tag="frames"):
    """Whole frames of 512 float32 samples, 16 kHz, one channel, and for each how likely it is speech and its root
    mean square. Only the file's last frame is padded with zeros."""

    samples: bytes
    probabilities: tuple[float, ...]
    levels: tuple[float, ...]


class AudioEnd(msgspec.Struct, frozen=True, kw_only=True, tag="end"):
    """The whole file was read. `repaired_samples` were no numbers and became 0; `damage` says where it broke off."""

    samples: int
    repaired_samples: int = 0
    damage: str = ""


class DecodeFailed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    error: WireError


DecodeMessage = AudioInfo | Frames | AudioEnd | DecodeFailed

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[DecodeMessage])


def encode(messages: Sequence[DecodeMessage]) -> bytes:
    body = _encoder.encode(messages)
    return HEADER.pack(len(body)) + body


class DecodeReader:
    """Bytes in, messages out. Raises `ValueError` for what the decoding process never sends."""

    def __init__(self) -> None:
        self._frames = FrameReader()

    def feed(self, data: bytes) -> Iterator[DecodeMessage]:
        for body in self._frames.feed(data):
            yield from _decoder.decode(body)
