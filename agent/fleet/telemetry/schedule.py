"""When to look at what. Pure.

Times are multiples of the intervals, counted from the beginning: what can be read together is, and the processor wakes
up less often. What was missed (a suspended machine, a busy loop) is not made up for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Schedule:
    """`intervals_s` by type; 0 is never. Everything is due at the beginning."""

    intervals_s: Mapping[str, float]
    began_at: float
    _next: dict[str, float] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._next = {type: self.began_at for type, interval_s in self.intervals_s.items() if interval_s > 0}

    def hasten(self, now: float) -> None:
        """Everything is due now, and after that at its next multiple as before."""
        self._next = dict.fromkeys(self._next, now)

    def due(self, now: float) -> list[str]:
        """The types whose time has come; each is due again at its next multiple after `now`."""
        found = [type for type, at in self._next.items() if now >= at]
        for type in found:
            interval_s = self.intervals_s[type]
            steps = math.floor((now - self.began_at) / interval_s) + 1
            self._next[type] = self.began_at + steps * interval_s
        return found

    def wait_s(self, now: float) -> float | None:
        """Until the next one is due; None if nothing ever is."""
        return max(0.0, min(self._next.values()) - now) if self._next else None
