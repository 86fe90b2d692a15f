"""Sound as the speech code has it: 16 kHz, one channel, frames of 512 samples (what the Silero VAD takes)."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from operator import mul

from agent.errors import RequestError

SAMPLE_RATE_HZ = 16_000
FRAME_SAMPLES = 512
FRAME_S = FRAME_SAMPLES / SAMPLE_RATE_HZ
BYTES_PER_INT16 = 2
BYTES_PER_FLOAT = 4

_FRAME_BYTES = FRAME_SAMPLES * BYTES_PER_INT16
_SCALE = 1.0 / 32768.0
_SILENCE_DBFS = -120.0


def seconds(samples: int) -> float:
    return samples / SAMPLE_RATE_HZ


def samples_in(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE_HZ)


def dbfs(level: float) -> float:
    """A level from 0 to 1 in decibels below full scale; -120 and less is silence."""
    return max(_SILENCE_DBFS, 20.0 * math.log10(level)) if level > 0 else _SILENCE_DBFS


def level_of(samples: list[float]) -> float:
    """Root mean square, from 0 to 1."""
    return math.sqrt(sum(map(mul, samples, samples)) / len(samples))


def float_bytes(samples: list[float]) -> bytes:
    """float32 in this machine's byte order, which is little-endian on every board that is supported."""
    return array("f", samples).tobytes()


class Frames:
    """16-bit PCM of any block size in, frames of 512 float samples from -1 to 1 out."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, pcm: bytes) -> Iterator[list[float]]:
        """Raises `RequestError` for half a sample."""
        if len(pcm) % BYTES_PER_INT16:
            raise RequestError(
                f"A block of {len(pcm)} bytes is not 16-bit PCM: the number of bytes is odd.",
                hint="Send signed 16-bit little-endian samples, one channel, 16 kHz, and whole samples per message.",
            )
        data = self._rest + pcm if self._rest else pcm
        whole = len(data) - len(data) % _FRAME_BYTES
        self._rest = data[whole:]
        for start in range(0, whole, _FRAME_BYTES):
            yield _floats(data[start : start + _FRAME_BYTES])

    def pad(self) -> tuple[list[float] | None, int]:
        """The unfinished frame completed with zeros, and how many were added; (None, 0) where there is none."""
        if not self._rest:
            return None, 0
        missing = _FRAME_BYTES - len(self._rest)
        frame = _floats(self._rest + bytes(missing))
        self._rest = b""
        return frame, missing // BYTES_PER_INT16


def _floats(pcm: bytes) -> list[float]:
    return [sample * _SCALE for sample in memoryview(pcm).cast("h")]


class Recent:
    """The last stretch of sound by position: float32 samples, dropped as soon as nobody can ask for them."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._start = 0

    @property
    def samples(self) -> int:
        return len(self._data) // BYTES_PER_FLOAT

    def append(self, data: bytes) -> None:
        self._data += data

    def cut(self, start: int, end: int) -> bytes:
        """Samples from position `start` to `end`. Raises `ValueError` where they are not all here."""
        if start < self._start or end > self._start + self.samples or end < start:
            held = f"{self._start} to {self._start + self.samples}"
            raise ValueError(f"samples {start} to {end} were asked for, and {held} are held")
        return bytes(
            memoryview(self._data)[(start - self._start) * BYTES_PER_FLOAT : (end - self._start) * BYTES_PER_FLOAT]
        )

    def forget_before(self, position: int) -> None:
        gone = min(max(0, position - self._start), self.samples)
        del self._data[: gone * BYTES_PER_FLOAT]
        self._start += gone

    def restart(self, position: int) -> None:
        """Sound was lost: the next sample has this position, and what came before is forgotten."""
        self._data.clear()
        self._start = position
