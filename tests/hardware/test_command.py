"""Commands that report something: what they print, and what is left of those that hang."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from agent.hardware.command import run_command


def test_what_it_prints_counts_whatever_its_exit_status() -> None:
    assert run_command(["sh", "-c", "echo 6.4 W; exit 3"]) == "6.4 W\n"
    assert run_command(["no-such-program-here"]) is None


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc")
def test_one_that_hangs_is_ended_with_what_it_has_started(tmp_path: Path) -> None:
    note = tmp_path / "child"
    assert run_command(["sh", "-c", f"sleep 1000 & echo $! > {note}; wait"], timeout_s=1.0) is None
    child = Path("/proc") / note.read_text().strip()
    give_up = time.monotonic() + 10
    while child.exists() and (child / "stat").read_text().split()[2] != "Z":
        assert time.monotonic() < give_up, "the child was left behind"
        time.sleep(0.01)
