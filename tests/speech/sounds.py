"""Sound that the tests make: bursts of a tone between silences, and a VAD that hears the tone."""

from __future__ import annotations

import math
import struct
from array import array

from agent.speech.pcm import SAMPLE_RATE_HZ


def tone(length_s: float, level: float = 0.3, hz: float = 440.0) -> bytes:
    """16-bit PCM, 16 kHz."""
    step = 2 * math.pi * hz / SAMPLE_RATE_HZ
    return array(
        "h", [int(32767 * level * math.sin(step * number)) for number in range(round(length_s * SAMPLE_RATE_HZ))]
    ).tobytes()


def silence(length_s: float) -> bytes:
    return bytes(2 * round(length_s * SAMPLE_RATE_HZ))


def wav(rate_hz: int, channels: int = 1, data: bytes = bytes(32_000)) -> bytes:
    """A header that says anything, in front of `data`."""
    align = 2 * channels % 65536
    form = struct.pack("<IHHIIHH", 16, 1, channels, rate_hz, min(rate_hz * align, 2**32 - 1), align, 16)
    return (
        b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + form + b"data" + struct.pack("<I", len(data)) + data
    )


class LoudIsSpeech:
    """A voice activity detector for tones."""

    def __init__(self) -> None:
        self.resets = 0

    def __call__(self, samples: list[float], level: float) -> float:
        return 0.95 if level > 0.05 else 0.01

    def reset(self) -> None:
        self.resets += 1
