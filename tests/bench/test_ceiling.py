from __future__ import annotations

from pathlib import Path

import pytest

from agent.bench.ceiling import cache_bytes, ceiling_of, read_bandwidth, share_of


@pytest.mark.parametrize(
    ("weights", "more", "reason"),
    [
        (0, {}, "does not say how large"),
        (10**9, {"gpu_bytes": 5}, "memory of a GPU"),
        (10**9, {"local": False}, "another machine"),
        (10**6, {"cached_bytes": 32 * 2**20}, "fit into the processor's cache"),
    ],
)
def test_without_a_ceiling_it_says_why(weights: int, more: dict[str, int], reason: str) -> None:
    found = ceiling_of((1e10, 4), weights, **more)  # type: ignore[arg-type]
    assert found.tokens_per_s == 0
    assert reason in found.reason
    assert share_of(found, [5.0]) is None


def test_the_ceiling_is_bandwidth_by_bytes_of_a_token() -> None:
    found = ceiling_of((1e10, 4), 400_000_000, cached_bytes=2 * 2**20)
    assert found.tokens_per_s == pytest.approx(25.0)
    assert share_of(found, [5.0, 20.0]) == pytest.approx(0.8)
    assert share_of(found, []) is None


@pytest.mark.parametrize("threads", [1, 3])
def test_memory_is_read_at_a_speed_that_memory_has(threads: int) -> None:
    # From a slow board to eight channels of the fastest there is; a read that never happens is out of it.
    assert 1e8 < read_bandwidth(threads, 8 * 2**20, passes=2) < 2e12


def test_the_largest_cache_is_found(tmp_path: Path) -> None:
    assert cache_bytes(tmp_path) == 0
    folder = tmp_path / "sys/devices/system/cpu/cpu0/cache"
    for index, size in enumerate(("32K", "512K", "2048K", "garbage")):
        (folder / f"index{index}").mkdir(parents=True)
        (folder / f"index{index}" / "size").write_text(size)
    assert cache_bytes(tmp_path) == 2 * 2**20
