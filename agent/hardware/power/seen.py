"""What the board drew when it was read, by what ran at that moment. Decisions only.

A meter that is read each second says nothing of a request that lasts a tenth of one, except by chance. But many such
requests make a recording or a day, some of them are read, and those that do the same draw the same: so what was read
while one of them ran holds for the next of its kind, for a while.
"""

from __future__ import annotations

from dataclasses import dataclass

Payer = tuple[str, ...]
"""Whoever is charged: a model, and what it does."""
Running = tuple[Payer, ...]
"""Who pays for each of the requests that run, sorted; none while the board rests."""


@dataclass(frozen=True, kw_only=True)
class State:
    """Of a board while a reading was taken. `busy` is None where work began or ended in that time and it rested for
    a part of it; `running` is None where other requests ran at its end than at its beginning."""

    busy: bool | None
    running: Running | None


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Watts at `at_s`, and what ran then."""

    at_s: float
    watts: float
    state: State


class SeenPower:
    """The last watts for each `Running`, for `holds_s` seconds."""

    def __init__(self, holds_s: float) -> None:
        self._holds_s = holds_s
        self._last: dict[Running, tuple[float, float]] = {}

    def add(self, reading: Reading) -> None:
        """In the order in which they were read."""
        running = reading.state.running
        if running is not None:
            self._last = {one: seen for one, seen in self._last.items() if self._holds(seen[0], reading.at_s)}
            self._last[running] = (reading.at_s, reading.watts)

    def watts(self, running: Running, at_s: float) -> float | None:
        """None where nobody has looked, or too long before `at_s`."""
        seen = self._last.get(running)
        return None if seen is None or not self._holds(seen[0], at_s) else seen[1]

    def seen_s(self, running: Running) -> float:
        """When that was read last; long ago where never."""
        return self._last.get(running, (float("-inf"), 0.0))[0]

    def _holds(self, seen_s: float, at_s: float) -> bool:
        return at_s - seen_s <= self._holds_s


def watts_of_part(running: Running, ends: tuple[Reading, Reading], seen: SeenPower, rest_watts: float | None) -> float:
    """What the board drew in a part of the time between two readings, in which the same ran all the while: what was
    read at an end when the same ran, else what was seen then not long before, else what was read at an end at which it
    at least worked, or rested, as in this part. NaN where none is known. `rest_watts` is its power at rest."""
    same = [one.watts for one in ends if one.state.running == running]
    if same:
        return sum(same) / len(same)
    known = seen.watts(running, ends[1].at_s)
    if known is None and not running:
        known = rest_watts
    if known is not None:
        return known
    alike = [one.watts for one in ends if one.state.busy == bool(running)]
    return sum(alike) / len(alike) if alike else float("nan")
