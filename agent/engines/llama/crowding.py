"""When something else wants the cores: fewer threads for a while. Decisions only.

ggml's threads meet at some thirty barriers per layer, and whoever waits there spins. While another program holds a
core, two of our threads share one, and each barrier costs a whole spin before the thread that is waited for gets to
run: on two cores beside one busy program a step of 21 ms took 2,700 ms, and 26 ms with one thread
(docs/performance.md).
"""

from __future__ import annotations

STALL_RATIO = 4.0
"""A step that took this many times as long as expected was held up, not slow."""
_SHORTEST_STALL_S = 0.05
_LONG_STALL_RATIO = 12.0
_STALLS_TO_ACT = 3
_FIRST_HOLD_S = 2.0
_LONGEST_HOLD_S = 60.0


class Crowding:
    """How many threads to use, given how long the steps took.

    After two stalls close together, or a long one, it takes one thread less and holds that for a time that doubles
    while trying again with all of them fails.
    """

    def __init__(self, threads: int) -> None:
        self.allow(threads)

    def allow(self, threads: int) -> None:
        """Start over with a new upper bound."""
        self.most = threads
        self.threads = threads
        self._stalls = 0.0
        self._hold_s = _FIRST_HOLD_S
        self._retry_at = 0.0
        self._full_since = 0.0

    def observe(self, *, expected_s: float, seconds: float, now: float) -> bool:
        """A step ended at `now` (monotonic seconds). Returns whether it was a stall, and says nothing of the model."""
        stalled = 0 < expected_s * STALL_RATIO < seconds and seconds - expected_s > _SHORTEST_STALL_S
        if stalled:
            self._stalls += _STALLS_TO_ACT if seconds > expected_s * _LONG_STALL_RATIO else 2.0
        else:
            self._stalls = max(0.0, self._stalls - 0.5)
        if self._stalls >= _STALLS_TO_ACT and self.threads > 1:
            self._stalls = 0.0
            self.threads -= 1
            self._retry_at = now + self._hold_s
            self._hold_s = min(self._hold_s * 2, _LONGEST_HOLD_S)
        elif self.threads < self.most and now >= self._retry_at:
            self.threads = self.most
            self._full_since = now
        elif self.threads == self.most and now - self._full_since > 2 * self._hold_s:
            self._hold_s = _FIRST_HOLD_S
        return stalled
