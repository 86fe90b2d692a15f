"""Which niceness the recording of sound may take."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest

from agent.speech.urgency import WANTED, lowest_niceness


@pytest.mark.parametrize(
    ("limit", "current", "privileged", "level"),
    [
        (0, 0, False, 0),  # most people's limit: nothing below 0
        (20, 5, False, 0),  # LimitNICE=+0 in the unit
        (25, 5, False, -5),  # LimitNICE=-5
        (40, 5, False, WANTED),
        (0, 5, False, 5),
        (resource.RLIM_INFINITY, 0, False, WANTED),
        (0, 0, True, WANTED),
        (0, -11, True, -11),  # never less urgent than it is
    ],
)
def test_the_lowest_that_is_allowed(limit: int, current: int, privileged: bool, level: int) -> None:
    assert lowest_niceness(limit, current, privileged=privileged) == level


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs root to give it away first")
def test_a_process_takes_what_it_may_and_no_more() -> None:
    code = "import os; os.nice(5); from agent.speech.urgency import go_first; print(go_first(), os.nice(0))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == [str(WANTED)] * 2
