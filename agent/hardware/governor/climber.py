"""Holds one quantity (heat, watts) below a limit by going down a ladder, and up again without swinging. Decisions only.

Down: soon, one rung at a time, several where it rises fast. Up: after a while, one rung, and where that had to be taken
back, only when there is a reason to think that it would go better now: the quantity is clearly lower than it was before
the attempt that failed, or a time has passed that doubles with each failure.
"""

from __future__ import annotations

from collections import deque
from typing import Final

_SLOPE_OVER_S: Final = 8.0
_LONGEST_RETRY_S: Final = 7200.0
_TRIAL_S: Final = 900.0
"""A rung that was climbed to and held for this long has not failed: a board has settled by then."""
_LONGEST_GAP_S: Final = 30.0


class Climber:
    """`high`: go down from here. `low`: up is allowed from here. `urgent`: go down by several rungs at once.
    `clearly`: by how much lower is a reason to try again. `ahead_s`: how far to look ahead along the slope, from
    `ahead_from` on: below it something else (the board's own throttling) may end a rise before it matters."""

    def __init__(
        self,
        *,
        rungs: int,
        low: float,
        high: float,
        urgent: float,
        clearly: float,
        ahead_s: float,
        settle_s: float,
        raise_s: float,
        retry_s: float,
        ahead_from: float | None = None,
    ) -> None:
        if not low < high <= urgent:
            raise ValueError(f"{low} < {high} <= {urgent} does not hold")
        self.rung = 0
        self._last_rung = rungs - 1
        self._low, self._high, self._urgent, self._clearly = low, high, urgent, clearly
        self._ahead_from = float("-inf") if ahead_from is None else ahead_from
        self._ahead_s, self._settle_s, self._raise_s, self._first_retry_s = ahead_s, settle_s, raise_s, retry_s
        self._seen: deque[tuple[float, float]] = deque()
        self._changed_s = float("-inf")
        self._tried: tuple[int, float, float] | None = None
        """The rung that was climbed to, the value before, and when."""
        self._failed: dict[int, tuple[float, float, float]] = {}
        """By rung: the value before the attempt, when to try again in any case, and how long that wait was."""

    def hold_below(self, high: float, *, urgent: float) -> None:
        """Another limit from now on; the band keeps its width."""
        shift = high - self._high
        self._low, self._high, self._urgent = self._low + shift, high, max(high, urgent)
        self._ahead_from += shift

    def advance(self, value: float, now_s: float, *, pressed: bool = False, may_fail: bool = True) -> int:
        """The rung for `value` at `now_s`. `pressed`: something else says that it is too much. `may_fail` is False
        while nothing runs, so that a low value says nothing of what a rung would lead to."""
        slope = self._slope(value, now_s)
        ahead = value + (max(0.0, slope) * self._ahead_s if value > self._ahead_from else 0.0)
        waited_s = now_s - self._changed_s
        if value >= self._urgent:
            if waited_s >= self._settle_s / 4:
                self._down(3, now_s)
        elif (ahead >= self._high or pressed) and slope > -0.02:
            if waited_s >= self._settle_s:
                self._down(1 + int(max(0.0, ahead - self._urgent) > 0), now_s)
        elif value <= self._low and ahead < self._high and self.rung > 0 and waited_s >= self._raise_s:
            self._up(value, now_s, may_fail=may_fail)
        return self.rung

    def _down(self, steps: int, now_s: float) -> None:
        if self.rung == self._last_rung:
            return
        if self._tried is not None:
            rung, before, tried_s = self._tried
            self._tried = None
            if now_s - tried_s < _TRIAL_S:
                wait_s = self._failed[rung][2] * 2 if rung in self._failed else self._first_retry_s
                wait_s = min(wait_s, _LONGEST_RETRY_S)
                self._failed[rung] = (before, now_s + wait_s, wait_s)
                steps = 1  # back to where it was well
        self.rung = min(self._last_rung, self.rung + steps)
        self._changed_s = now_s

    def _up(self, value: float, now_s: float, *, may_fail: bool) -> None:
        to = self.rung - 1
        failed = self._failed.get(to)
        if may_fail and failed is not None and value > failed[0] - self._clearly and now_s < failed[1]:
            return
        self.rung = to
        self._tried = (to, value, now_s) if may_fail else self._tried
        self._changed_s = now_s

    def _slope(self, value: float, now_s: float) -> float:
        """Per second, over the last seconds; 0 after a gap."""
        if self._seen and not 0 <= now_s - self._seen[-1][0] <= _LONGEST_GAP_S:
            self._seen.clear()
        self._seen.append((now_s, value))
        while now_s - self._seen[0][0] > _SLOPE_OVER_S:
            self._seen.popleft()
        then_s, before = self._seen[0]
        return (value - before) / (now_s - then_s) if now_s - then_s >= _SLOPE_OVER_S / 2 else 0.0
