"""Giving way in the scheduler, and taking one's turn again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.runtime.niceness import STEP, give_way, may_take_back, take_turn

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
    assert levels(child) == {min(19, own + STEP)}
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
    assert (proc / str(child) / "autogroup").read_text() == str(STEP)
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
