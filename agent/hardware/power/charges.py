"""How many joules belong to each stretch of the time between two readings. Decisions only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

from agent.hardware.power.seen import Reading, SeenPower, watts_of_part
from agent.hardware.power.timeline import Stretch


@dataclass(frozen=True)
class Charge:
    """Of one stretch. `blind` where requests ran and only the power at rest is known: too little, until more is."""

    joules: float
    blind: bool = False


def charges_of_counter(joules: float, stretches: Sequence[Stretch], idle_watts: float | None) -> list[Charge]:
    """They add up to `joules`: what the board draws at rest for all of the time, the remainder for the time of work.
    Where the power at rest is not known, and where nothing ran, each second gets the same."""
    whole_s = sum(one.duration_s for one in stretches)
    busy_s = sum(one.duration_s for one in stretches if one.running)
    rest_joules = joules if idle_watts is None or busy_s == 0 else min(joules, idle_watts * whole_s)
    rest_watts = rest_joules / whole_s
    added_watts = (joules - rest_joules) / busy_s if busy_s else 0.0
    return [Charge((rest_watts + (added_watts if one.running else 0.0)) * one.duration_s) for one in stretches]


def charges_of_watts(
    ends: tuple[Reading, Reading], stretches: Sequence[Stretch], seen: SeenPower, idle_watts: float | None
) -> list[Charge]:
    """The power has a step wherever work begins or ends, so each stretch has the watts that were read while just its
    requests ran. A reading that is neither work nor rest says nothing of the time between."""
    rest_watts = watts_of_part((), ends, seen, idle_watts)
    if isnan(rest_watts):
        rest_watts = min(one.watts for one in ends)
    charges = []
    for one in stretches:
        watts = watts_of_part(one.payers, ends, seen, idle_watts)
        if isnan(watts):
            charges.append(Charge(rest_watts * one.duration_s, blind=bool(one.running)))
        else:
            charges.append(Charge(watts * one.duration_s))
    return charges
