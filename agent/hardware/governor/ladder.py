"""The ways to slow down, from full speed to almost nothing, in the order in which they cost the least.

First the clock, where the system lets us: dynamic power falls with frequency times voltage squared, while decoding
waits for memory. Then threads, to half of them, then pauses between steps, which save exactly what they cost.
docs/power.md has the numbers of a simulated Pi 5: at 1500 of 2400 MHz it keeps 85% of its tokens per second on 39% of
the power of its cores; with two of four threads it keeps 75% on 50%.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

PAUSES: Final = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
"""Seconds to rest for each second of work."""
_BREATHS: Final = (0.02, 0.05, 0.12)
"""The pauses on the way to one thread less, so that the step is not so long; the small ones only before the first, for
a board that is a degree too hot."""
_MOST_CLOCKS: Final = 6
"""From `EFFICIENT_SHARE` of the full clock on."""
_MOST_LOW_CLOCKS: Final = 2
EFFICIENT_SHARE: Final = 0.6
"""Of the full clock. Below about this the voltage falls no further, and a slower step only lasts longer at what the
board draws at rest: a Pi 5's has fallen at 1500 of 2400 MHz (`benchmarks/energy/governor_board.py`), that of an
RK3588's fast cores at 1200 of 2400 MHz (Linux, arch/arm64/boot/dts/rockchip/rk3588-opp.dtsi)."""


@dataclass(frozen=True, kw_only=True)
class Rung:
    """`max_mhz` is None where the clock is left alone."""

    threads: int
    threads_batch: int
    max_mhz: int | None = None
    pause_ratio: float = 0.0


@dataclass(frozen=True)
class Ladder:
    """`rungs[0]` is full speed. `lowest_clock` is the last one that only lowers the clock, `efficient` the last one of
    these that saves energy as far as one can tell without a meter: a still lower clock, fewer threads or pauses spread
    what the board draws at rest over fewer tokens, and cost more energy for each."""

    rungs: tuple[Rung, ...]
    efficient: int
    lowest_clock: int
    slowest_threads: int
    """The fewest threads, without a pause."""


def build(threads: int, threads_batch: int, clocks_mhz: Sequence[int] = ()) -> Ladder:
    """For a model's threads; `clocks_mhz` are the clocks that may be set, empty where none may.

    Raises `ValueError` for fewer than one thread.
    """
    if threads < 1 or threads_batch < 1:
        raise ValueError(f"{threads} and {threads_batch} threads: at least one of each is needed")
    clocks = _some(sorted(set(clocks_mhz), reverse=True)) if clocks_mhz else []
    lowest = clocks[-1] if clocks else None
    limits: list[int | None] = [*clocks] or [None]
    fast = [Rung(threads=threads, threads_batch=threads_batch, max_mhz=mhz) for mhz in limits]
    fewer: list[Rung] = []
    for count in _down(threads):
        before = fewer[-1] if fewer else fast[-1]
        breaths = _BREATHS[-1:] if fewer else _BREATHS
        fewer += [replace(before, max_mhz=lowest, pause_ratio=ratio) for ratio in breaths]
        batch = max(1, round(threads_batch * count / threads))
        fewer.append(Rung(threads=count, threads_batch=batch, max_mhz=lowest))
    last = fewer[-1] if fewer else fast[-1]
    paused = [replace(last, max_mhz=lowest, pause_ratio=ratio) for ratio in PAUSES]
    efficient = sum(mhz >= EFFICIENT_SHARE * clocks[0] for mhz in clocks[1:])
    return Ladder((*fast, *fewer, *paused), efficient, len(fast) - 1, len(fast) + len(fewer) - 1)


def _some(clocks: list[int]) -> list[int]:
    """Both ends included, and not all between, since a step too small to matter takes time to find out: more of them
    where a step costs little speed for what it saves than below that."""
    high = [mhz for mhz in clocks if mhz >= EFFICIENT_SHARE * clocks[0]]
    return [*_spread(high, _MOST_CLOCKS), *_spread(clocks[len(high) - 1 :], _MOST_LOW_CLOCKS + 1)[1:]]


def _spread(clocks: list[int], most: int) -> list[int]:
    """At even distances, both ends included."""
    if len(clocks) <= most:
        return clocks
    return [clocks[round(step * (len(clocks) - 1) / (most - 1))] for step in range(most)]


def _down(threads: int) -> list[int]:
    """Fewer threads, to half of them: one by one on a small board, in at most four steps on a large one."""
    least = (threads + 1) // 2
    steps = min(4, threads - least)
    return [threads - round(step * (threads - least) / steps) for step in range(1, steps + 1)] if steps else []
