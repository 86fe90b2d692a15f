from __future__ import annotations

import os
import subprocess
import sys

import pytest

from agent.engines.process import resident_bytes
from agent.engines.rehearsal import in_child
from agent.errors import EngineError

MIB = 1024 * 1024


def test_what_the_child_returns_arrives_however_long_it_is() -> None:
    assert in_child(lambda: b"x" * 300_000) == b"x" * 300_000
    assert in_child(lambda: str(os.getpid()).encode()) != str(os.getpid()).encode()


def test_its_memory_does_not_stay() -> None:
    before = resident_bytes()
    kept: list[bytes] = []

    def work() -> bytes:
        start = resident_bytes()
        kept.append(b"x" * (64 * MIB))  # more than the allocator ever takes out of what it has
        return str(resident_bytes() - start).encode()

    assert int(in_child(work)) > 60 * MIB
    assert not kept
    assert resident_bytes() - before < 5 * MIB


def test_a_failure_in_the_child_is_told() -> None:
    def work() -> bytes:
        raise ZeroDivisionError

    with pytest.raises(EngineError, match="reason is in the log"):
        in_child(work)


@pytest.mark.parametrize("number", [6, 9, 11])
def test_a_killed_child_ends_the_process_the_same_way(number: int) -> None:
    code = f"""
import os, resource
from agent.engines.rehearsal import in_child
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
in_child(lambda: os.kill(os.getpid(), {number}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == -number
