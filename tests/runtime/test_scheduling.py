"""What the operating system is told of a worker's threads, with a real child process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.runtime.scheduling import arrange

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the policies and calls are Linux's")

THREADED = """
import sys, threading
stop = threading.Event()
for _ in range(3):
    threading.Thread(target=stop.wait, daemon=True).start()
print("ready", flush=True)
sys.stdin.readline()
threading.Thread(target=stop.wait, daemon=True).start()
print("one more", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def child() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", THREADED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def threads(pid: int) -> list[int]:
    return [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]


def test_all_threads_and_those_that_come_later_run_on_the_given_cpus(child: subprocess.Popen[str]) -> None:
    cpu = min(os.sched_getaffinity(0))
    done = arrange(child.pid, frozenset({cpu}))
    assert (done.threads, done.cpus) == (4, frozenset({cpu}))
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write("\n")
    child.stdin.flush()
    child.stdout.readline()
    every = threads(child.pid)
    assert len(every) == 5
    assert all(os.sched_getaffinity(thread) == {cpu} for thread in every)


def test_without_cpus_nothing_changes(child: subprocess.Popen[str]) -> None:
    before = os.sched_getaffinity(child.pid)
    assert arrange(child.pid, None).cpus is None
    assert os.sched_getaffinity(child.pid) == before


def test_cpus_that_do_not_exist_are_refused_without_harm(child: subprocess.Popen[str]) -> None:
    done = arrange(child.pid, frozenset({1023}))
    assert (done.threads, done.cpus) == (4, None)


def test_a_process_that_is_gone_is_nothing(tmp_path: Path) -> None:
    done = arrange(2**22 - 1, None, proc=tmp_path)
    assert (done.threads, done.cpus) == (0, None)
