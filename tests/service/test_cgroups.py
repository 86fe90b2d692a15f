"""Workers' control groups, on a tree of files like the kernel's. benchmarks/service/boot.py tries the kernel's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.service.cgroups import MIB, NotDelegatedError, WorkerGroups, delegated_folder, worker_groups

OURS = "system.slice/edge-agent.service"
UNDER_SYSTEMD = {"INVOCATION_ID": "0123"}


def tree(root: Path, *, path: str = OURS, controllers: str = "cpu memory pids", delegated: bool = True) -> Path:
    """A machine with version 2 on which this process is in the group `path`; gives the group's folder."""
    mount = root / "sys/fs/cgroup"
    folder = mount / path.removesuffix("/daemon")
    folder.mkdir(parents=True)
    (mount / "cgroup.controllers").write_text("cpu memory pids\n")
    (folder / "cgroup.controllers").write_text(controllers + "\n")
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(f"0::/{path}\n")
    if delegated and os.geteuid() == 0:
        try:
            os.setxattr(folder, "user.delegate", b"1")
        except OSError:
            pytest.skip("the file system of the temporary folder has no attributes")
    return folder


def test_the_daemon_moves_to_a_leaf_and_makes_room_for_workers(tmp_path: Path) -> None:
    folder = tree(tmp_path)
    assert worker_groups(tmp_path, UNDER_SYSTEMD) is not None
    assert (folder / "daemon/cgroup.procs").read_text() == str(os.getpid())
    assert (folder / "cgroup.subtree_control").read_text() == "+memory"


def test_a_daemon_that_is_in_its_leaf_already_finds_the_group_above(tmp_path: Path) -> None:
    folder = tree(tmp_path, path=f"{OURS}/daemon")
    assert delegated_folder(tmp_path) == folder


@pytest.mark.parametrize(
    ("path", "controllers", "why"),
    [
        ("user.slice/session-1.scope", "memory", "has not delegated /user.slice/session-1.scope"),
        ("../../etc/edge-agent.service", "memory", "has not delegated"),
        (OURS, "cpu pids", "cgroup_enable=memory"),
    ],
)
def test_why_there_can_be_none_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, path: str, controllers: str, why: str
) -> None:
    caplog.set_level("INFO")
    tree(tmp_path, path=path, controllers=controllers)
    assert worker_groups(tmp_path, UNDER_SYSTEMD) is None
    assert len(caplog.messages) == 1
    assert "workers share the service's memory limit" in caplog.messages[0]
    assert why in caplog.messages[0]


def test_version_1_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    (tmp_path / "sys/fs/cgroup/memory").mkdir(parents=True)
    assert worker_groups(tmp_path, UNDER_SYSTEMD) is None
    assert "version 1" in caplog.text


def test_a_group_of_root_that_systemd_has_not_marked_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree(tmp_path, delegated=False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(NotDelegatedError, match="Delegate=yes"):
        delegated_folder(tmp_path)


def test_a_group_of_another_user_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(NotDelegatedError, match="Delegate=yes"):
        delegated_folder(tmp_path)


def test_outside_systemd_nothing_is_touched_or_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    folder = tree(tmp_path)
    assert worker_groups(tmp_path, {}) is None
    assert not (folder / "daemon").exists()
    assert caplog.messages == []


def test_no_room_for_a_group_costs_nothing_but_a_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tree(tmp_path)
    (folder / "daemon").write_text("in the way")
    assert worker_groups(tmp_path, UNDER_SYSTEMD) is None
    assert "daemon" in caplog.text


@pytest.mark.parametrize(
    ("name", "folder"),
    [("qwen", "worker-qwen"), ("a/../../b c", "worker-a_.._.._b_c"), ("é" * 300, "worker-" + "_" * 100)],
)
def test_a_worker_gets_a_group_by_its_model_s_name(tmp_path: Path, name: str, folder: str) -> None:
    group = WorkerGroups(tmp_path).open(name, 4711)
    assert group is not None
    assert group.folder == tmp_path / folder
    assert (group.folder / "cgroup.procs").read_text() == "4711"
    assert (group.folder / "memory.oom.group").read_text() == "1"


def test_a_worker_that_replaces_one_gets_a_number(tmp_path: Path) -> None:
    groups = WorkerGroups(tmp_path)
    (tmp_path / "worker-qwen").mkdir()
    (tmp_path / "worker-qwen/cgroup.events").write_text("populated 1\nfrozen 0\n")
    second = groups.open("qwen", 2)
    assert second is not None
    assert second.folder.name == "worker-qwen-2"


@pytest.mark.parametrize(
    ("charged_mib", "current_mib", "cache_mib", "limit_mib"),
    [
        (100, 90, 0, 164),  # the least slack
        (1000, 90, 0, 1250),  # a quarter
        (100, 400, 380, 164),  # page cache does not count
        (100, 400, 0, 500),  # what it holds already is not taken from it
    ],
)
def test_the_limit_follows_the_ledger(
    tmp_path: Path, charged_mib: int, current_mib: int, cache_mib: int, limit_mib: int
) -> None:
    group = WorkerGroups(tmp_path).open("qwen", 1)
    assert group is not None
    (group.folder / "memory.current").write_text(f"{current_mib * MIB}\n")
    (group.folder / "memory.stat").write_text(f"anon 5\ninactive_file {cache_mib * MIB}\nactive_file 0\n")
    group.limit(charged_mib * MIB)
    assert int((group.folder / "memory.max").read_text()) == limit_mib * MIB


@pytest.mark.parametrize(
    ("oom", "why"),
    [(1, "it went over its own limit of 164 MiB"), (0, "it was the largest when the service or the machine had no")],
)
def test_what_the_kernel_killed_is_said_with_the_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, oom: int, why: str
) -> None:
    group = WorkerGroups(tmp_path).open("qwen", 1)
    assert group is not None
    group.limit(100 * MIB)
    (group.folder / "memory.events").write_text(f"low 0\nhigh 0\nmax 9\noom {oom}\noom_kill 1\noom_group_kill 1\n")
    group.close()
    assert f"qwen: the kernel killed its worker: {why}" in caplog.text


def test_groups_that_have_emptied_are_swept(tmp_path: Path) -> None:
    """A worker's grandchild may hold the group for a moment after it was closed."""
    left = tmp_path / "worker-old"
    left.mkdir()
    WorkerGroups(tmp_path).open("qwen", 1)
    assert not left.exists()


def test_a_worker_that_cannot_be_moved_serves_without(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "sub").write_text("a file")
    assert WorkerGroups(tmp_path / "sub").open("qwen", 1) is None
    assert "no control group of its own" in caplog.text
