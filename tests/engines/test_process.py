"""The worker's process as the operating system sees it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from agent.engines.process import wanted_s

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


@pytest.mark.skipif(not Path("/proc/thread-self/schedstat").exists(), reason="the kernel does not count waiting")
def test_waiting_for_a_core_is_wanted_time_and_sleeping_is_not() -> None:
    core = min(os.sched_getaffinity(0))
    busy = f"import os\nos.sched_setaffinity(0, [{core}])\nprint(flush=True)\nwhile True: pass"
    found: dict[str, float] = {}

    def compute() -> None:
        os.sched_setaffinity(0, [core])  # of this thread alone
        began_s, wanted, ran = time.monotonic(), wanted_s(), time.thread_time()
        while time.monotonic() < began_s + 0.5:
            pass
        found["passed"], found["wanted"] = time.monotonic() - began_s, wanted_s() - wanted
        found["ran"] = time.thread_time() - ran
        before_s = wanted_s()
        time.sleep(0.2)
        found["asleep"] = wanted_s() - before_s

    with subprocess.Popen([sys.executable, "-c", busy], stdout=subprocess.PIPE) as neighbor:
        try:
            assert neighbor.stdout is not None
            neighbor.stdout.readline()
            thread = threading.Thread(target=compute)
            thread.start()
            thread.join()
        finally:
            neighbor.kill()
    assert found["ran"] < 0.9 * found["passed"]
    assert found["wanted"] == pytest.approx(found["passed"], rel=0.1)
    assert found["asleep"] < 0.1
