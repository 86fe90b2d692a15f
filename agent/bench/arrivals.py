"""When requests of an open loop come: whether the server keeps up or not."""

from __future__ import annotations

import random


def poisson_s(rate_per_s: float, count: int, seed: int) -> list[float]:
    """`count` seconds from the start at which requests come, `rate_per_s` of them on average: a Poisson process, so
    the gaps are exponential. The same for the same seed, on every machine. Raises `ValueError` for a rate that is not
    above 0."""
    if not rate_per_s > 0:
        raise ValueError(f"a rate of {rate_per_s} requests per second")
    draw = random.Random(seed)
    times: list[float] = []
    now = 0.0
    for _ in range(count):
        now += draw.expovariate(rate_per_s)
        times.append(now)
    return times
