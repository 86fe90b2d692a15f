"""Giving way in the scheduler, taking one's turn again, and going first."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.runtime.niceness import (
    BEHIND,
    FIRST,
    TRIED,
    give_way,
    go_first,
    lowest_niceness,
    may_take_back,
    step_behind,
    take_turn,
)

THREADS = """
import sys, threading
for _ in range(3):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
print("up", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def child() -> Iterator[int]:
    with subprocess.Popen(
        [sys.executable, "-c", THREADS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


def levels(pid: int) -> set[int]:
    return {os.getpriority(os.PRIO_PROCESS, int(task.name)) for task in Path(f"/proc/{pid}/task").iterdir()}


@pytest.mark.skipif(not may_take_back(), reason="may not take a niceness back")
def test_all_threads_give_way_and_take_their_turn_again(child: int) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert give_way(child)
    assert levels(child) == {min(19, own + TRIED)}
    take_turn(child)
    assert levels(child) == {own}


def fake_proc(root: Path, pid: int, *, group: bool) -> Path:
    (root / str(pid)).mkdir()
    (root / "self").mkdir()
    (root / "self" / "status").write_text("Name:\tx\nCapEff:\t0000000000000000\n")
    if group:
        (root / str(pid) / "autogroup").write_text("")
    return root


def test_where_niceness_cannot_be_taken_back_only_the_group_gives_way(
    tmp_path: Path, child: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda which: (0, 0))
    proc = fake_proc(tmp_path, child, group=True)
    before = levels(child)
    assert not may_take_back(proc)
    assert give_way(child, proc=proc)
    assert (proc / str(child) / "autogroup").read_text() == str(TRIED)
    assert levels(child) == before
    assert take_turn(child, proc=proc)
    assert (proc / str(child) / "autogroup").read_text() == "0"


def test_where_neither_can_be_done_nothing_is(tmp_path: Path, child: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda which: (0, 0))
    proc = fake_proc(tmp_path, child, group=False)
    assert not give_way(child, proc=proc)
    assert take_turn(child, proc=proc)


@pytest.mark.parametrize(("limit", "able"), [(20, True), (-1, True), (10, False)])
def test_the_limit_of_the_unit_allows_it(
    tmp_path: Path, limit: int, able: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda which: (limit, limit))
    monkeypatch.setattr("os.getpriority", lambda which, who: 5)
    assert may_take_back(fake_proc(tmp_path, 1, group=False)) == able


def test_a_process_that_is_gone_is_no_error() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    give_way(process.pid)
    take_turn(process.pid)
    step_behind(process.pid)


def test_what_nobody_waits_for_steps_behind_in_its_session_and_before_others(tmp_path: Path, child: int) -> None:
    step_behind(child, proc=fake_proc(tmp_path, child, group=True))
    assert os.getpriority(os.PRIO_PROCESS, child) == BEHIND
    assert (tmp_path / str(child) / "autogroup").read_text() == str(BEHIND)
    if hasattr(os, "SCHED_BATCH"):
        assert os.sched_getscheduler(child) == os.SCHED_BATCH


def test_the_group_of_a_session_that_is_shared_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", THREADS], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        step_behind(process.pid, proc=fake_proc(tmp_path, process.pid, group=True))
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == BEHIND
        assert (tmp_path / str(process.pid) / "autogroup").read_text() == ""
        process.kill()


@pytest.mark.parametrize(
    ("limit", "current", "level"),
    [
        (0, 0, 0),  # most people's limit: nothing below 0
        (20, 5, 0),  # LimitNICE=+0 in the unit
        (25, 5, -5),  # LimitNICE=-5
        (40, 5, FIRST),
        (0, 5, 5),
        (resource.RLIM_INFINITY, 0, FIRST),
        (40, -11, -11),  # never less urgent than it is
    ],
)
def test_the_lowest_that_is_allowed(limit: int, current: int, level: int) -> None:
    assert lowest_niceness(limit, current) == level


GO = """
import os, pathlib
from agent.runtime.niceness import go_first
own = pathlib.Path("/proc/self/autogroup")
os.nice(5)
print(go_first(), os.nice(0), (own.read_text().split() if own.exists() else [])[-1:])
"""


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs root to give it away first")
@pytest.mark.parametrize("own_session", [True, False])
def test_recording_goes_first_and_so_does_its_session_where_it_has_one(own_session: bool) -> None:
    said = subprocess.run(
        [sys.executable, "-c", GO], capture_output=True, text=True, check=True, start_new_session=own_session
    ).stdout.split()
    assert said[:2] == [str(FIRST)] * 2
    group = Path("/proc/self/autogroup")
    ours = (group.read_text().split() if group.exists() else [])[-1:]  # empty: the session of init has no group
    assert said[2] == str([str(FIRST)] if own_session and group.exists() else ours)


def test_one_who_may_not_go_first_stays_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(which: int, who: int, level: int) -> None:
        raise PermissionError

    monkeypatch.setattr("os.setpriority", refuse)
    (tmp_path / str(os.getpid())).mkdir()
    group = tmp_path / str(os.getpid()) / "autogroup"
    group.write_text("as it was")
    assert go_first(proc=tmp_path) == os.getpriority(os.PRIO_PROCESS, 0)
    assert group.read_text() == "as it was"
