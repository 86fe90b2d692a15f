"""What a source of sound yields: a microphone, or a client that sends its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

DeviceState = Literal["closed", "opening", "open", "lost", "failed"]
LossReason = Literal["overrun", "device", "reopened"]
"""`overrun`: we were too slow to take it. `device`: it arrived late or never, by the clock. `reopened`: nobody
listened between two openings of the device."""


@dataclass(frozen=True, slots=True)
class Block:
    """16-bit signed PCM, 16 kHz, one channel. `heard_at` is the monotonic time of its last sample."""

    pcm: bytes
    heard_at: float


@dataclass(frozen=True, slots=True)
class Missing:
    """Sound that never arrived, in samples at 16 kHz."""

    samples: int
    reason: LossReason


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceChange:
    """The device's new state. `name` is the device's own, once it is known."""

    state: DeviceState
    name: str | None = None
    reason: str = ""
    hint: str = ""
    retry_s: float | None = None


Heard = Block | Missing | DeviceChange
