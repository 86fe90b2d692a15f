"""Finds the rung with the fewest joules per token by trying its neighbors. Decisions only, from a meter's readings."""

from __future__ import annotations

from typing import Final

TRIAL_S: Final = 90.0
"""Of work on one rung, before it is judged: the heat of the one before has settled by then."""
BETTER: Final = 0.98
"""A rung counts as better from 2% fewer joules on; less is noise."""
AGAIN_S: Final = 3600.0


class Tuner:
    """Walks down from `start`, turns back where it gets worse, and stays at the best for an hour."""

    def __init__(self, *, start: int, last: int) -> None:
        self.rung = start
        self._start, self._last = start, last
        self._best: tuple[int, float] | None = None
        self._sum, self._seconds = 0.0, 0.0
        self._then_s: float | None = None
        self._settled_until_s: float | None = None

    def advance(self, joules_per_token: float | None, now_s: float, *, enough: float | None) -> int:
        """The rung for now. None: nothing was measured since the last call. `enough`: do not search below it."""
        then_s, self._then_s = self._then_s, now_s
        if self._settled_until_s is not None:
            if now_s < self._settled_until_s:
                return self.rung
            self._settled_until_s, self._best, self.rung = None, None, self._start
        if joules_per_token is None or then_s is None:
            return self.rung
        seconds = min(now_s - then_s, 10.0)
        self._seconds += seconds
        if self._seconds > TRIAL_S / 3:  # the first third still cools or warms
            self._sum += joules_per_token * seconds
        if self._seconds >= TRIAL_S:
            self._judge(self._sum / (self._seconds * 2 / 3), now_s, enough)
            self._sum, self._seconds = 0.0, 0.0
        return self.rung

    def _judge(self, measured: float, now_s: float, enough: float | None) -> None:
        better = self._best is None or measured < self._best[1] * BETTER
        if better:
            self._best = (self.rung, measured)
        if better and self.rung < self._last and (enough is None or measured > enough):
            self.rung += 1
            return
        assert self._best is not None
        self.rung = self._best[0]
        self._settled_until_s = now_s + AGAIN_S
