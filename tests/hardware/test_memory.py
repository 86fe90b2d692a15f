from __future__ import annotations

from pathlib import Path

import pytest

from agent.hardware.memory import MemoryReading, budget_bytes, read_memory
from agent.hardware.sections import MemoryShare
from tests.hardware import recorded

MIB = 1024**2
GIB = 1024**3

MEMINFO = "MemTotal: 8388608 kB\nMemFree: 1048576 kB\nMemAvailable: 6291456 kB\nCached: 4194304 kB\n"


def machine(root: Path, cgroup: str, files: dict[str, str], meminfo: str = MEMINFO) -> Path:
    for name, text in {"proc/meminfo": meminfo, "proc/self/cgroup": cgroup, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def v2(path: str, limit: str, used: int = 0, cache: int = 0, name: str = "memory.max") -> dict[str, str]:
    base = f"sys/fs/cgroup{path}"
    return {
        f"{base}/{name}": limit + "\n",
        f"{base}/memory.current": f"{used}\n",
        f"{base}/memory.stat": f"anon 1\ninactive_file {cache}\n",
    }


def v1(path: str, limit: int, used: int = 0, cache: int = 0) -> dict[str, str]:
    base = f"sys/fs/cgroup/memory{path}"
    return {
        f"{base}/memory.limit_in_bytes": f"{limit}\n",
        f"{base}/memory.usage_in_bytes": f"{used}\n",
        f"{base}/memory.stat": f"inactive_file 7\ntotal_inactive_file {cache}\n",
    }


NO_LIMIT_V1 = 9223372036854771712

CGROUPS = {
    # case: /proc/self/cgroup, files, (limit, used, headroom)
    "none": ("0::/\n", {}, (None, None, None)),
    "version 2, unlimited": ("0::/a\n", v2("/a", "max"), (None, None, None)),
    "version 2, own group": ("0::/a/b\n", v2("/a/b", f"{GIB}", 100, 40), (GIB, 60, GIB - 60)),
    "version 2, only the parent": ("0::/a/b\n", v2("/a/b", "max") | v2("/a", f"{GIB}"), (GIB, 0, GIB)),
    "version 2, smallest of three": (
        "0::/a/b/c\n",
        v2("/a/b/c", f"{4 * GIB}") | v2("/a/b", f"{GIB}", 10) | v2("/a", f"{2 * GIB}"),
        (GIB, 10, GIB - 10),
    ),
    "version 2, a larger parent is fuller": (
        "0::/a/b\n",
        v2("/a/b", f"{GIB}", 10) | v2("/a", f"{2 * GIB}", 2 * GIB - 50),
        (GIB, 10, 50),
    ),
    "version 2, memory.high throttles": ("0::/a\n", v2("/a", f"{GIB}", name="memory.high"), (GIB, 0, GIB)),
    "version 2, container with a namespace": ("0::/\n", v2("", f"{GIB}", 5), (GIB, 5, GIB - 5)),
    "version 2, container without one": ("0::/docker/0123\n", v2("", f"{GIB}", 5), (GIB, 5, GIB - 5)),
    "version 2, used above the limit": ("0::/a\n", v2("/a", f"{GIB}", 3 * GIB), (GIB, 3 * GIB, 0)),
    "version 1": ("4:memory:/a/b\n", v1("/a/b", GIB, 100, 40), (GIB, 60, GIB - 60)),
    "version 1, unlimited": ("4:memory:/a\n", v1("/a", NO_LIMIT_V1), (None, None, None)),
    "version 1, 64 KiB pages, unlimited": ("4:memory:/a\n", v1("/a", 2**63 - 65536), (None, None, None)),
    "version 1, container": ("4:cpu,memory:/docker/0123\n", v1("", GIB), (GIB, 0, GIB)),
    "both, version 1 limits": (
        "4:memory:/a\n0::/a\n",
        v1("/a", GIB) | {"sys/fs/cgroup/unified/a/cgroup.procs": ""},
        (GIB, 0, GIB),
    ),
    "garbage": ("0:::::\nnonsense\n0::../../etc\n", v2("", "lots"), (None, None, None)),
    "a limit above the machine's memory": ("0::/a\n", v2("/a", f"{64 * GIB}"), (None, None, None)),
}


@pytest.mark.parametrize("case", CGROUPS)
def test_the_smallest_limit_wins(tmp_path: Path, case: str) -> None:
    cgroup, files, expected = CGROUPS[case]
    reading = read_memory(machine(tmp_path, cgroup, files))
    assert (reading.limit_bytes, reading.used_by_cgroup_bytes, reading.headroom_bytes) == expected
    assert (reading.total_bytes, reading.available_bytes) == (8 * GIB, 6 * GIB)


@pytest.mark.parametrize(
    ("reading", "held", "expected"),
    [
        # never total RAM: 8 GiB installed, 2 GiB free
        (MemoryReading(available_bytes=2 * GIB, total_bytes=8 * GIB), 0, int(1.6 * GIB)),
        # the group's headroom is less than what the machine has free
        (MemoryReading(available_bytes=6 * GIB, total_bytes=8 * GIB, limit_bytes=2 * GIB, headroom_bytes=GIB), 0, 768),
        # the reserve is stricter than the fraction where little is left
        (MemoryReading(available_bytes=GIB, total_bytes=8 * GIB), 0, 768),
        (MemoryReading(available_bytes=100 * MIB, total_bytes=8 * GIB), 0, 0),
        (MemoryReading(available_bytes=0, total_bytes=0), 0, 0),
        # what our workers hold is part of the budget: loading a model does not shrink it
        (MemoryReading(available_bytes=GIB, total_bytes=8 * GIB), GIB, int(1.6 * GIB)),
    ],
)
def test_budget(reading: MemoryReading, held: int, expected: int) -> None:
    share = MemoryShare(budget_fraction=0.8, reserve_mb=256)
    wanted = expected * MIB if expected == 768 else expected
    assert budget_bytes(reading, share, held_bytes=held) == wanted


@pytest.mark.parametrize("name", recorded.NAMES)
def test_recorded_boards_have_memory_to_give(name: str) -> None:
    reading = recorded.read_memory(name)
    assert 0 < reading.usable_bytes <= reading.ceiling_bytes <= reading.total_bytes


def test_macs_count_pages_that_can_be_given_away() -> None:
    reading = recorded.read_memory("mac-m2")
    assert reading.available_bytes == (310022 + 271050 + 8800 + 15020) * 16384


def test_an_old_kernel_has_no_mem_available(tmp_path: Path) -> None:
    reading = read_memory(machine(tmp_path, "", {}, "MemTotal: 1000 kB\nMemFree: 100 kB\nCached: 400 kB\n"))
    assert reading.available_bytes == 300 * 1024


@pytest.mark.parametrize("text", ["", "MemTotal: lots\n", "MemTotal 12\n", "\x00\x01"])
def test_unreadable_memory_is_no_memory(tmp_path: Path, text: str) -> None:
    reading = read_memory(machine(tmp_path, "", {}, text))
    assert budget_bytes(reading, MemoryShare(budget_fraction=0.8, reserve_mb=1)) == 0
