"""The pauses of an ONNX model between two runs of its graph, as the board's governor wants them. Decisions only."""

from __future__ import annotations

from dataclasses import dataclass

from agent.runtime.wire.control import SetPace


@dataclass
class Rest:
    """`ratio` is how long to rest after each second of a run. Times are of one clock that never goes back."""

    ratio: float = 0.0
    _until_s: float = 0.0

    def obey(self, order: SetPace) -> None:
        """The rest that is being taken ends: it was of another order."""
        self.ratio, self._until_s = order.pause_ratio, 0.0

    def ran(self, began_s: float, ended_s: float) -> None:
        self._until_s = max(self._until_s, ended_s + (ended_s - began_s) * self.ratio)

    def left_s(self, now_s: float) -> float:
        """How long the next run has to wait; 0 where it may begin."""
        return max(0.0, self._until_s - now_s)
