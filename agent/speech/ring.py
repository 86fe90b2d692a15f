"""What the sound driver's callback writes and the capturing thread takes: bounded, and it only copies."""

from __future__ import annotations

import threading
from collections import deque
from typing import NamedTuple


class Arrived(NamedTuple):
    """Interleaved 16-bit samples, which arrived `at` (monotonic) and were recorded from `recorded_at` on by the
    driver's clock (None: it has none). `lost_frames` were not taken before this block: the ring was full."""

    data: bytes
    at: float
    recorded_at: float | None
    lost_frames: int


class Ring:
    """One writer, one reader. Full: the newest blocks are refused and counted."""

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity_bytes = capacity_bytes
        self._blocks: deque[Arrived] = deque()
        self._bytes = 0
        self._lost_frames = 0
        self._lock = threading.Lock()
        self._filled = threading.Event()

    def write(self, data: bytes, frames: int, at: float, recorded_at: float | None) -> None:
        with self._lock:
            if self._bytes + len(data) > self._capacity_bytes:
                self._lost_frames += frames
                return
            self._blocks.append(Arrived(data, at, recorded_at, self._lost_frames))
            self._bytes += len(data)
            self._lost_frames = 0
        self._filled.set()

    def take(self, timeout_s: float) -> list[Arrived]:
        """All blocks there are; waits for the first. Empty after `timeout_s`."""
        if not self._filled.wait(timeout_s):
            return []
        with self._lock:
            blocks = list(self._blocks)
            self._blocks.clear()
            self._bytes = 0
            self._filled.clear()
        return blocks
