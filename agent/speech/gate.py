"""A noise gate before the VAD, which costs a millisecond per frame: silence shall not keep a core busy.

The floor follows the frames in which the VAD heard nothing. In doubt a frame passes: that costs time only.
"""

from __future__ import annotations

OPEN_RATIO = 1.26
"""2 dB above the floor: speech 2 dB *below* steady noise still raises the level that much."""
FASTEST_RISE = 0.05
FALL = 0.2
HOLD_FRAMES = 16
"""Half a second: between words the VAD keeps its context."""
SILENCE_PROBABILITY = 0.1
LEAST_LEVEL = 0.0003
"""-70 dBFS: below this a frame is silence whatever came before (the noise of a good microphone is at -65)."""


class Gate:
    """`admits` says whether the VAD must look at a frame; `heard` tells what it found."""

    def __init__(self) -> None:
        self._floor = LEAST_LEVEL
        self._hold = 0

    @property
    def floor(self) -> float:
        """Root mean square of the noise, from 0 to 1."""
        return self._floor

    def admits(self, level: float) -> bool:
        if level > self._floor * OPEN_RATIO and level > LEAST_LEVEL:
            self._hold = HOLD_FRAMES
            return True
        if self._hold:
            self._hold -= 1
            return True
        self._follow(level)
        return False

    def heard(self, level: float, probability: float) -> None:
        if probability < SILENCE_PROBABILITY:
            self._follow(level)
        elif probability >= 0.5:
            self._hold = HOLD_FRAMES

    def _follow(self, level: float) -> None:
        share = FALL if level < self._floor else FASTEST_RISE
        self._floor = max(LEAST_LEVEL, self._floor + share * (level - self._floor))
