from __future__ import annotations

from pathlib import Path

import pytest

from agent.hardware import cgroup
from tests.hardware import recorded


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "max 100000\n"}, None),
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "150000 100000\n"}, 1.5),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "50000 100000\n"}, 0.5),
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "0 0\n"}, None),
        (
            {
                "proc/self/cgroup": "3:cpu,cpuacct:/d\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "300000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            3.0,
        ),
        (
            {
                "proc/self/cgroup": "3:cpu:/d\n",
                "sys/fs/cgroup/cpu/d/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/d/cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
    ],
)
def test_cpu_quota(tmp_path: Path, files: dict[str, str], quota: float | None) -> None:
    assert cgroup.cpu_quota(machine(tmp_path, files)) == quota


@pytest.mark.parametrize(
    ("name", "enabled"),
    [("pi-zero-2w", False), ("pi-4", False), ("pi-5", True), ("pi-5-container", True), ("x86-64-cuda", None)],
)
def test_the_memory_controller_may_be_off(name: str, enabled: bool | None) -> None:
    assert cgroup.memory_controller_enabled(recorded.root_of(name)) is enabled
