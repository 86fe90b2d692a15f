"""What `systemctl show` says, read with and without a service, and from garbage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from agent.service.state import read_state

RUNNING = """LoadState=loaded
ActiveState=active
SubState=running
UnitFileState=enabled
Result=success
StatusText=http://127.0.0.1:8484, 1 model
MainPID=69
NRestarts=2
MemoryCurrent=58720256
MemoryHigh=infinity
MemoryMax=18446744073709551615
WatchdogUSec=30s
ControlGroup=/system.slice/edge-agent.service
FragmentPath=/etc/systemd/system/edge-agent.service
DropInPaths=/etc/systemd/system/edge-agent.service.d/50-board.conf /etc/systemd/system/edge-agent.service.d/x.conf
"""
UNKNOWN = "LoadState=not-found\nActiveState=inactive\nMainPID=0\nMemoryCurrent=[not set]\n"


def test_a_running_service_with_its_workers(tmp_path: Path) -> None:
    group = tmp_path / "sys/fs/cgroup/system.slice/edge-agent.service/worker-qwen"
    group.mkdir(parents=True)
    (group / "memory.current").write_text("1000\n")
    (group / "memory.max").write_text("2000\n")

    def run(command: Sequence[str]) -> str:
        return RUNNING if "edge-agent.service" in command else "ActiveState=active\n"

    state = read_state(run, user=False, root=tmp_path)
    assert (state.installed, state.active, state.pid, state.restarts) == (True, "active", 69, 2)
    assert (state.memory_bytes, state.memory_high_bytes, state.memory_max_bytes) == (58720256, None, None)
    assert state.socket == "active"
    assert len(state.files) == 3
    assert [(one.name, one.memory_bytes, one.limit_bytes) for one in state.workers] == [("qwen", 1000, 2000)]


@pytest.mark.parametrize("text", [None, "", UNKNOWN, "garbage\n=\n\0", "MainPID=x\nControlGroup=/../../etc\n"])
def test_nothing_installed_is_a_state_too(tmp_path: Path, text: str | None) -> None:
    state = read_state(lambda command: text, user=False, root=tmp_path)
    assert not state.installed
    assert state.active == "inactive"
    assert (state.pid, state.memory_bytes, state.workers) == (None, None, ())
