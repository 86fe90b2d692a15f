"""How much other programs keep a model that serves from the processors."""

from __future__ import annotations

from agent.hardware.sensors.turns import Turns, read_turns


def waited_s(pid: int | None) -> float:
    """How long all threads of a worker together have been ready to run while others ran; 0 where nobody knows."""
    turns = None if pid is None else read_turns(pid)
    return 0.0 if turns is None else turns.waited_s


class Crowding:
    """Of the workers that one version has, one after another. `cores` is how many threads can run at once."""

    def __init__(self, cores: int) -> None:
        self._cores = cores
        self._last: tuple[int, Turns] | None = None
        self._ran_s = self._waited_s = 0.0

    def look(self, pid: int | None) -> None:
        """At the worker that there is now."""
        self.take(pid, None if pid is None else read_turns(pid))

    def take(self, pid: int | None, turns: Turns | None) -> None:
        """What the worker `pid` has got since it began; None while there is none, or nobody knows. What it did before
        it was seen first does not count: it may have given way then."""
        if pid is None or turns is None:
            self._last = None
            return
        if self._last is not None and self._last[0] == pid:
            before = self._last[1]
            self._ran_s += max(0.0, turns.ran_s - before.ran_s)
            self._waited_s += max(0.0, turns.waited_s - before.waited_s)
        self._last = pid, turns

    @property
    def share(self) -> float:
        """Of the time in which it worked: in so much of it, at most, it waited for others. All threads wait for the
        slowest one, and one can wait while all the others run: so what waited, against what one core could have done
        in the time of all."""
        in_all_s = self._ran_s + self._waited_s
        return min(1.0, self._cores * self._waited_s / in_all_s) if in_all_s > 0 else 0.0
