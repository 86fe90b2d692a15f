"""How many blocks may be on their way, and which of them are lost. Pure: no clock, no I/O.

As in TCP, what is on its way is bounded by a window that grows while blocks arrive and shrinks when they are lost
(additive increase, multiplicative decrease; RFC 5681, with RFC 6298's estimate of the round trip). A block is lost when
`OVERTAKEN` blocks that were asked for after it have arrived and a round trip has passed, or when nothing at all has
arrived for a while: a slow line that still brings something is never asked twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FIRST: Final = 8
LEAST: Final = 2
MOST: Final = 64
"""Blocks: 8 MiB at most, 4 MiB at the usual mean; what a broker is asked to hold."""
OVERTAKEN: Final = 16
SHRINK: Final = 0.7
FIRST_SILENCE_S: Final = 2.0
LEAST_SILENCE_S: Final = 0.25
LONGEST_SILENCE_S: Final = 20.0
_GRAIN_S: Final = 0.001
"""Times that are nearer are the same: sums of them are rounded."""


@dataclass(slots=True)
class _Asked:
    at: float
    turn: int
    again: bool


class Window:
    """Times are in seconds of any one clock. `before` is one of the same line, which knows how long a round trip is."""

    def __init__(self, most: int = MOST, before: Window | None = None) -> None:
        self._most = most
        self._size = float(min(FIRST, most))
        self._starting = True
        self._away: dict[int, _Asked] = {}
        self._turn = 0
        self._newest = 0
        self._round_trip_s: float | None = before._round_trip_s if before else None
        self._spread_s: float = before._spread_s if before else 0.0
        self._stalls = 0
        self._moved_at = 0.0
        self._shrunk_at = float("-inf")

    @property
    def away(self) -> int:
        """Blocks on their way."""
        return len(self._away)

    @property
    def room(self) -> int:
        """Blocks that may be asked for now."""
        return max(0, int(self._size) - len(self._away))

    @property
    def size(self) -> int:
        return int(self._size)

    def asked(self, number: int, now: float, *, again: bool = False) -> None:
        if not self._away:
            self._moved_at = now
        self._turn += 1
        self._away[number] = _Asked(now, self._turn, again)

    def arrived(self, number: int, now: float) -> bool:
        """Whether it was waited for."""
        asked = self._away.pop(number, None)
        if asked is None:
            return False
        self._moved_at = now
        self._stalls = 0
        self._newest = max(self._newest, asked.turn)
        if not asked.again:  # else nobody knows which of the requests was answered (Karn)
            self._measure(now - asked.at)
        self._size = min(self._most, self._size + (1.0 if self._starting else 1.0 / self._size))
        return True

    def lost(self, now: float) -> list[int]:
        """Those that must be asked for again; they are no longer on their way."""
        if not self._away:
            return []
        if self.wait_s(now) <= _GRAIN_S:
            lost = list(self._away)
            self._stalls = min(self._stalls + 1, 10)
            self._moved_at = now
        else:
            patience_s = 1.25 * (self._round_trip_s or FIRST_SILENCE_S)
            lost = [
                number
                for number, asked in self._away.items()
                if self._newest - asked.turn >= OVERTAKEN and now - asked.at >= patience_s
            ]
        for number in lost:
            del self._away[number]
        if lost:
            self._shrink(now)
        return lost

    def wait_s(self, now: float) -> float:
        """How long to wait for an answer before `lost` is asked."""
        return max(0.0, self._moved_at + self._silence_s - now)

    @property
    def _silence_s(self) -> float:
        base_s = FIRST_SILENCE_S
        if self._round_trip_s is not None:
            base_s = max(LEAST_SILENCE_S, self._round_trip_s + 4 * self._spread_s)
        return min(base_s * (1 << self._stalls), LONGEST_SILENCE_S)

    def _measure(self, round_trip_s: float) -> None:
        if self._round_trip_s is None:
            self._round_trip_s, self._spread_s = round_trip_s, round_trip_s / 2
        else:
            self._spread_s += 0.25 * (abs(self._round_trip_s - round_trip_s) - self._spread_s)
            self._round_trip_s += 0.125 * (round_trip_s - self._round_trip_s)

    def _shrink(self, now: float) -> None:
        """Once for each round trip: one overflow loses many."""
        self._starting = False
        if now - self._shrunk_at >= (self._round_trip_s or 0.0):
            self._size = max(LEAST, self._size * SHRINK)
            self._shrunk_at = now
