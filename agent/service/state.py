"""How the installed service is doing, as systemd and the control groups tell."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agent.hardware import sysfile
from agent.hardware.command import Runner
from agent.service.plan import SERVICE, SOCKET

PROPERTIES = (
    "LoadState",
    "ActiveState",
    "SubState",
    "UnitFileState",
    "Result",
    "StatusText",
    "MainPID",
    "NRestarts",
    "MemoryCurrent",
    "MemoryHigh",
    "MemoryMax",
    "WatchdogUSec",
    "ControlGroup",
    "FragmentPath",
    "DropInPaths",
)


@dataclass(frozen=True, kw_only=True)
class WorkerMemory:
    """A worker's control group; None for a limit that is not set (yet)."""

    name: str
    memory_bytes: int | None
    limit_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class ServiceState:
    """`installed` is whether systemd knows the unit; `active` is systemd's word ("active", "inactive", "failed").

    Numbers are None where systemd does not say. `socket` is the state of edge-agent.socket.
    """

    installed: bool
    active: str
    detail: str
    enabled: str
    result: str
    status: str
    socket: str
    pid: int | None
    restarts: int | None
    memory_bytes: int | None
    memory_high_bytes: int | None
    memory_max_bytes: int | None
    files: tuple[str, ...]
    workers: tuple[WorkerMemory, ...]

    def value(self) -> dict[str, Any]:
        return asdict(self)


def read_state(run: Runner, *, user: bool, root: Path = Path("/")) -> ServiceState:
    """Asks systemctl; a machine without systemd has nothing installed."""
    shown = _show(run, SERVICE, user=user)
    files = [shown.get("FragmentPath", ""), *shown.get("DropInPaths", "").split()]
    return ServiceState(
        installed=shown.get("LoadState") == "loaded",
        active=shown.get("ActiveState", "inactive"),
        detail=shown.get("SubState", ""),
        enabled=shown.get("UnitFileState", ""),
        result=shown.get("Result", ""),
        status=shown.get("StatusText", ""),
        socket="" if user else _show(run, SOCKET, user=user).get("ActiveState", ""),
        pid=_number(shown.get("MainPID")) or None,
        restarts=_number(shown.get("NRestarts")),
        memory_bytes=_number(shown.get("MemoryCurrent")),
        memory_high_bytes=_number(shown.get("MemoryHigh")),
        memory_max_bytes=_number(shown.get("MemoryMax")),
        files=tuple(file for file in files if file),
        workers=tuple(_workers(root, shown.get("ControlGroup", ""))),
    )


def _show(run: Runner, unit: str, *, user: bool) -> dict[str, str]:
    scope = ("--user",) if user else ()
    text = run(("systemctl", *scope, "show", unit, f"--property={','.join(PROPERTIES)}")) or ""
    return {key: value for line in text.splitlines() for key, equals, value in [line.partition("=")] if equals}


def _workers(root: Path, group: str) -> list[WorkerMemory]:
    if not group.startswith("/") or ".." in group:
        return []
    folder = root / "sys/fs/cgroup" / group.lstrip("/")
    return [
        WorkerMemory(
            name=place.name.removeprefix("worker-"),
            memory_bytes=sysfile.read_int(place / "memory.current"),
            limit_bytes=sysfile.read_int(place / "memory.max"),
        )
        for place in sysfile.list_names(folder, "worker-*")
    ]


def _number(text: str | None) -> int | None:
    """systemd writes "[not set]" or "infinity", or the largest number, for none."""
    if text is None or not text.isdecimal() or int(text) >= 2**63 - 1:
        return None
    return int(text)
