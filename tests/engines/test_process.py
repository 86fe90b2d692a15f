"""The worker's process as the operating system sees it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SETTING = """
import os
from agent.engines.process import keep_numpy_to_one_thread
keep_numpy_to_one_thread()
print(os.environ["OPENBLAS_NUM_THREADS"])
"""
PRODUCT = """
import agent.engines.worker, os, sys
assert "numpy" not in sys.modules  # it would have read its number of threads by now
agent.engines.worker.keep_numpy_to_one_thread()
import numpy
matrix = numpy.ones((256, 256), dtype=numpy.float32)
matrix @ matrix
print(len(os.listdir("/proc/self/task")), os.environ["OPENBLAS_NUM_THREADS"])
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads in /proc")
def test_numpy_in_a_worker_starts_no_threads_that_spin_after_a_product() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    done = subprocess.run([sys.executable, "-c", PRODUCT], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1"]


def test_whoever_sets_the_number_of_threads_knows_better() -> None:
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", SETTING], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2"
