"""A control group for each worker, with a limit from the memory ledger, so that the kernel ends a worker alone.

Only under systemd, which must have delegated our group to us (`Delegate=yes`), and only in version 2 of the control
groups: version 1 cannot be handed to a user safely, and systemd does not do it (systemd.resource-control(5)). Where it
does not work, the workers' `oom_score_adj` still makes them the first to go.

    edge-agent.service/     MemoryMax= of the unit
        daemon/             this process and what it starts besides workers
        worker-NAME/        memory.max, memory.oom.group
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from agent.hardware import sysfile

MIB = 1024 * 1024
SLACK_BYTES = 64 * MIB
"""Beyond what the ledger charged: the allocator's slack, page tables, the page cache of files being read."""
SLACK_SHARE = 0.25
"""The same for large models. A worker that outgrows this by as much has a leak, and is started again."""

_ANOTHER_LIMIT = "was the largest when the service or the machine had no memory left"
_LEAF = "daemon"
_PREFIX = "worker-"
_NAME_LIMIT = 100

_log = logging.getLogger(__name__)


class WorkerGroup:
    """One worker's control group. A write that the kernel refuses is logged, and changes nothing for the worker."""

    def __init__(self, name: str, folder: Path) -> None:
        self.folder = folder
        self._name = name

    def limit(self, charged_bytes: int) -> None:
        """Let the worker take what the ledger charged it with, and some more; never less than it holds already."""
        held_bytes = _held_bytes(self.folder)
        most = max(charged_bytes, held_bytes)
        self._write("memory.max", str(most + max(SLACK_BYTES, int(most * SLACK_SHARE))))

    def close(self) -> None:
        """The worker is gone: say so if the kernel killed it, and remove the group with whatever is left in it."""
        events = self.folder / "memory.events"
        if _statistic(events, "oom_kill"):
            limit_mib = (sysfile.read_int(self.folder / "memory.max") or 0) // MIB
            whose = f"went over its own limit of {limit_mib} MiB" if _statistic(events, "oom") else _ANOTHER_LIMIT
            told = {"fields": {"model": self._name}}
            _log.error("%s: the kernel killed its worker: it %s", self._name, whose, extra=told)
        with contextlib.suppress(OSError):
            (self.folder / "cgroup.kill").write_text("1")  # Linux 5.14; before that there is rarely anybody left
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def _write(self, file: str, text: str) -> None:
        try:
            (self.folder / file).write_text(text)
        except OSError as error:
            _log.warning("%s: %s was not set: %s", self._name, self.folder / file, error.strerror)


class WorkerGroups:
    """Makes the workers' control groups in `folder`, which is ours."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self, name: str, pid: int) -> WorkerGroup | None:
        """Put the process `pid`, the worker of the model `name`, into a group of its own; None if that fails."""
        self._sweep()
        folder = self._free_folder(name)
        group = WorkerGroup(name, folder)
        try:
            folder.mkdir()
            (folder / "memory.oom.group").write_text("1")
            (folder / "cgroup.procs").write_text(str(pid))
        except OSError as error:
            _log.warning("%s: its worker has no control group of its own: %s: %s", name, folder, error.strerror)
            group.close()
            return None
        return group

    def _free_folder(self, name: str) -> Path:
        """`worker-NAME`, with a number behind it while a worker that is being replaced has that."""
        plain = _PREFIX + re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:_NAME_LIMIT]
        candidates = (plain if number == 1 else f"{plain}-{number}" for number in range(1, 1000))
        return next(folder for each in candidates if not (folder := self._folder / each).exists())

    def _sweep(self) -> None:
        """Groups whose last process had not quite ended when they were closed."""
        for folder in self._folder.glob(f"{_PREFIX}*"):
            if folder.is_dir() and not _populated(folder):
                with contextlib.suppress(OSError):
                    folder.rmdir()


def worker_groups(root: Path = Path("/"), environment: Mapping[str, str] = os.environ) -> WorkerGroups | None:
    """Move this process to the leaf `daemon` of its delegated control group, and make room for workers beside it.

    None where that is not possible; under systemd the log says once why. Elsewhere nobody delegates anything.
    """
    if not environment.get("INVOCATION_ID"):
        return None
    try:
        folder = delegated_folder(root)
        leaf = folder / _LEAF
        leaf.mkdir(exist_ok=True)
        (leaf / "cgroup.procs").write_text(str(os.getpid()))
        (folder / "cgroup.subtree_control").write_text("+memory")
    except NotDelegatedError as reason:
        _log.info("workers share the service's memory limit: %s", reason)
        return None
    except OSError as error:
        _log.warning("workers share the service's memory limit: %s: %s", error.filename, error.strerror)
        return None
    return WorkerGroups(folder)


class NotDelegatedError(Exception):
    """Why there can be no groups for workers."""


def delegated_folder(root: Path = Path("/")) -> Path:
    """The folder of this process's control group, if it is ours to divide. Raises `NotDelegatedError`, `OSError`."""
    mount = root / "sys/fs/cgroup"
    if not (mount / "cgroup.controllers").exists():
        raise NotDelegatedError("this system has version 1 of the control groups, which cannot be delegated")
    lines = (root / "proc/self/cgroup").read_text().splitlines()
    path = next((PurePosixPath(line[3:]) for line in lines if line.startswith("0::/")), PurePosixPath("/"))
    if path.name == _LEAF:
        path = path.parent
    folder = mount / path.relative_to("/")
    if not path.name.endswith(".service") or ".." in path.parts or not _delegated(folder):
        raise NotDelegatedError(f"systemd has not delegated {path} (Delegate=yes in the unit)")
    if "memory" not in (folder / "cgroup.controllers").read_text().split():
        raise NotDelegatedError(
            "the memory controller is off; on a Raspberry Pi, cgroup_enable=memory in cmdline.txt turns it on"
        )
    return folder


def _delegated(folder: Path) -> bool:
    """systemd gives a delegated group to the service's user, and marks it, which tells also where that user is root."""
    user = os.geteuid()
    if user != 0:
        return folder.stat().st_uid == user
    return any(_attribute(folder, name) == b"1" for name in ("user.delegate", "trusted.delegate"))


def _attribute(folder: Path, name: str) -> bytes:
    try:
        return os.getxattr(folder, name)
    except (OSError, AttributeError):
        return b""


def _populated(folder: Path) -> bool:
    return _statistic(folder / "cgroup.events", "populated") != 0


def _held_bytes(folder: Path) -> int:
    """What the group holds that cannot be dropped: all but the page cache."""
    current = sysfile.read_int(folder / "memory.current") or 0
    stat = folder / "memory.stat"
    return max(0, current - _statistic(stat, "inactive_file") - _statistic(stat, "active_file"))


def _statistic(file: Path, name: str) -> int:
    """A line `NAME NUMBER` of one of the kernel's files; 0 where there is none."""
    for line in (sysfile.read_text(file) or "").splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.isdecimal():
            return int(value)
    return 0
