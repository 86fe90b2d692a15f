"""The control group this process lives in: its memory and CPU limits, version 1 and 2.

A limit may sit on any ancestor, so the process's own path is walked upward and the smallest limit wins. In a
container without a cgroup namespace the path names folders that do not exist inside; walking up then ends at
`/sys/fs/cgroup`, which is the container's own group there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from agent.hardware import sysfile

UNLIMITED_BYTES = 1 << 60
"""Version 1 writes "no limit" as the largest multiple of the page size below 2**63."""


@dataclass(frozen=True, kw_only=True)
class MemoryLimit:
    """The smallest limit and what that group uses; `headroom_bytes` is the least room left at any level.

    Used memory leaves out `inactive_file`: page cache that the kernel drops before it kills anything.
    """

    limit_bytes: int
    used_bytes: int
    headroom_bytes: int


def memory_limit(root: Path) -> MemoryLimit | None:
    """The memory limit on this process, or None where no group limits it."""
    levels = list(_version_2(root)) + list(_version_1(root))
    if not levels:
        return None
    limit, used = min(levels, key=lambda level: (level[0], -level[1]))
    headroom = min(max(0, one_limit - one_used) for one_limit, one_used in levels)
    return MemoryLimit(limit_bytes=limit, used_bytes=used, headroom_bytes=headroom)


def cpu_quota(root: Path) -> float | None:
    """How many CPUs' worth of time the process may use (`docker run --cpus`), or None where it is not limited."""
    quotas: list[float] = []
    for folder in _walk(root, ""):
        quota, _, period = (sysfile.read_text(folder / "cpu.max") or "").partition(" ")
        if quota.isdecimal() and period.isdecimal() and int(period) > 0:
            quotas.append(int(quota) / int(period))
    for folder in _walk(root, "cpu"):
        quota_us = sysfile.read_int(folder / "cpu.cfs_quota_us")
        period_us = sysfile.read_int(folder / "cpu.cfs_period_us")
        if quota_us and period_us and quota_us > 0 and period_us > 0:
            quotas.append(quota_us / period_us)
    return min((quota for quota in quotas if quota > 0), default=None)


def memory_controller_enabled(root: Path) -> bool | None:
    """Whether the kernel can limit memory at all; None where it does not say.

    Raspberry Pi firmware boots with `cgroup_disable=memory`, and `/proc/cgroups` then has 0 in the last column.
    """
    for line in (sysfile.read_text(root / "proc/cgroups") or "").splitlines():
        fields = line.split()
        if len(fields) == 4 and fields[0] == "memory":
            return fields[3] == "1"
    controllers = sysfile.read_text(root / "sys/fs/cgroup/cgroup.controllers")
    return None if controllers is None else "memory" in controllers.split()


def _version_2(root: Path) -> Iterator[tuple[int, int]]:
    for folder in _walk(root, ""):
        limits = [
            value
            for name in ("memory.max", "memory.high")
            if (value := sysfile.read_int(folder / name)) is not None and 0 <= value < UNLIMITED_BYTES
        ]
        if limits:
            used = sysfile.read_int(folder / "memory.current") or 0
            yield min(limits), max(0, used - _statistic(folder, "inactive_file"))


def _version_1(root: Path) -> Iterator[tuple[int, int]]:
    for folder in _walk(root, "memory"):
        limit = sysfile.read_int(folder / "memory.limit_in_bytes")
        if limit is not None and 0 <= limit < UNLIMITED_BYTES:
            used = sysfile.read_int(folder / "memory.usage_in_bytes") or 0
            yield limit, max(0, used - _statistic(folder, "total_inactive_file"))


def _statistic(folder: Path, name: str) -> int:
    for line in (sysfile.read_text(folder / "memory.stat") or "").splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.isdecimal():
            return int(value)
    return 0


def _walk(root: Path, controller: str) -> Iterator[Path]:
    """Folders from the process's own group up to the mount, for one version 1 controller or ("") for version 2."""
    mounts = _mounts(root, controller)
    if not mounts:
        return
    path = PurePosixPath("/")
    for line in (sysfile.read_text(root / "proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        names, colon, where = rest.partition(":")
        if colon and controller in names.split(",") and where.startswith("/") and ".." not in where:
            path = PurePosixPath(where)
    for mount in mounts:
        for level in (path, *path.parents):
            yield mount / level.relative_to("/")


def _mounts(root: Path, controller: str) -> list[Path]:
    base = root / "sys/fs/cgroup"
    if not controller:
        return [base, base / "unified"]
    return [
        base / controller,
        *sysfile.list_names(base, f"{controller},*"),
        *sysfile.list_names(base, f"*,{controller}"),
    ]
