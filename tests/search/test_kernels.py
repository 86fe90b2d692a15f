"""The arithmetic stays out of everyone else's memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_numkong_brings_no_numpy_into_the_daemon_and_hinders_nobody_who_wants_it() -> None:
    program = (
        "import sys, array; from agent.search import kernels;"
        "assert 'numkong' not in sys.modules;"
        "assert kernels.length(memoryview(array.array('f', [3, 4]))) == 5.0;"
        "assert 'numpy' not in sys.modules, 'numpy was loaded';"
        "import numpy; assert kernels.dot(memoryview(numpy.ones(2, 'f')), memoryview(numpy.ones(2, 'f'))) == 2.0"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
