"""What a process got of the processors."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.hardware.sensors.turns import Turns, parse_schedstat, read_turns


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1500000000 250000000 42\n", Turns(1.5, 0.25)),
        ("0 0 0\n", Turns(0.0, 0.0)),
        ("", None),
        ("12\n", None),
        ("-1 x 3\n", None),
    ],
)
def test_a_line_of_a_thread(text: str, expected: Turns | None) -> None:
    assert parse_schedstat(text) == expected


def test_all_threads_count(tmp_path: Path) -> None:
    for thread, line in (("7", "1000000000 2000000000 5"), ("8", "3000000000 0 5"), ("9", "gone")):
        (tmp_path / "proc/7/task" / thread).mkdir(parents=True)
        (tmp_path / "proc/7/task" / thread / "schedstat").write_text(line)
    assert read_turns(7, tmp_path) == Turns(4.0, 2.0)
    assert read_turns(8, tmp_path) is None


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="this kernel does not count it")
def test_this_process_has_run() -> None:
    turns = read_turns(os.getpid())
    assert turns is not None
    assert turns.ran_s > 0


@pytest.mark.parametrize(
    ("ran_s", "waited_s", "passed_s", "starved"),
    [
        (1.0, 9.0, 10.0, True),
        (4.0, 6.0, 10.0, True),
        (6.0, 4.0, 10.0, False),
        (10.0, 0.0, 10.0, False),  # a loop without an end
        (0.0, 0.1, 10.0, False),  # it sleeps
        (2.0, 18.0, 10.0, True),  # two threads
    ],
)
def test_who_waits_more_than_it_runs_is_starved(ran_s: float, waited_s: float, passed_s: float, starved: bool) -> None:
    before = Turns(5.0, 7.0)
    assert Turns(5.0 + ran_s, 7.0 + waited_s).starved_since(before, passed_s) is starved
