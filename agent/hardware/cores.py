"""Which processors a worker should run on: the fast ones, where the machine has two kinds. Decisions only."""

from __future__ import annotations

from agent.hardware.cpu import Processor


def worker_cpus(processor: Processor, threads: int) -> frozenset[int] | None:
    """The CPUs for a worker whose model computes with `threads` threads; None: leave it to the scheduler.

    ggml's threads wait for the slowest of them at every operation, so one on a slow core makes all of them slow. With
    more threads than fast cores some have to be on slow ones, and bound together they would only take turns.
    """
    fast = [core for core in processor.usable if core.performance]
    if not fast or len(fast) == len(processor.usable) or threads > len(fast):
        return None
    return frozenset(cpu for core in fast for cpu in core.cpus)
