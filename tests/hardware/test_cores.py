"""Workers run on the fast cores of recorded boards with two kinds, where all of their threads fit there."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.hardware.cores import worker_cpus
from agent.hardware.cpu import read_cpuinfo, read_processor

BOARDS = Path(__file__).parent / "boards"


@pytest.mark.parametrize(
    ("board", "threads", "cpus"),
    [
        ("rock-5b", 4, {4, 5, 6, 7}),  # RK3588: Cortex-A55 first, then Cortex-A76
        ("rock-5b", 2, {4, 5, 6, 7}),
        ("rock-5b", 6, None),  # more threads than fast cores
        ("pi-5", 4, None),  # one kind
        ("jetson-orin-nano", 6, None),
        ("x86-64-avx2", 2, None),
    ],
)
def test_the_cpus_of_a_worker(board: str, threads: int, cpus: set[int] | None) -> None:
    root = BOARDS / board
    expected = None if cpus is None else frozenset(cpus)
    assert worker_cpus(read_processor(root, read_cpuinfo(root), None), threads) == expected


def test_on_a_hybrid_chip_both_hardware_threads_of_the_fast_cores_are_allowed() -> None:
    root = BOARDS / "x86-64-hybrid"
    processor = read_processor(root, read_cpuinfo(root), None)
    fast = [core for core in processor.cores if core.performance]
    assert 0 < len(fast) < len(processor.cores)
    cpus = worker_cpus(processor, len(fast))
    assert cpus == frozenset(cpu for core in fast for cpu in core.cpus)
    assert worker_cpus(processor, len(fast) + 1) is None


def test_only_fast_cores_that_we_may_use_count() -> None:
    root = BOARDS / "rock-5b"
    processor = read_processor(root, read_cpuinfo(root), {0, 1, 4, 5})
    assert worker_cpus(processor, 2) == frozenset({4, 5})
    assert worker_cpus(processor, 4) is None
    assert worker_cpus(read_processor(root, read_cpuinfo(root), {0, 1}), 1) is None
