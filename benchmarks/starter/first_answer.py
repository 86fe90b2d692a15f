"""From a clean clone to the first answer, with the README's commands: `make run`, and the curl that it prints.

    python -m benchmarks.starter.first_answer [--cold]

With `--cold` the wheel of llama-cpp-python is compiled, as on a new machine; without, it is taken from the cache that
an earlier `make run` left. The clone holds what is committed. Prints a table, and one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.report import Row, run_rows

ROOT = Path(__file__).resolve().parents[2]
PORT = "18484"
LIMIT_S = 1800.0
STOP_S = 30.0


def first_answer(*, cold: bool) -> Iterator[Row]:
    """Neither state nor configuration of the user is seen or touched; pip's cache is."""
    with tempfile.TemporaryDirectory(prefix="edge-agent-clone-") as folder:
        clone, log = Path(folder) / "edge-agent", Path(folder) / "log"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("EDGE_AGENT_")}
        environment |= {"EDGE_AGENT_STATE_DIR": f"{folder}/state", "EDGE_AGENT_PORT": PORT}
        if cold:
            environment["EDGE_AGENT_CACHE_DIR"] = f"{folder}/cache"
        began = time.perf_counter()
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        with log.open("w") as output:
            run = subprocess.Popen(
                ["make", "run"], cwd=clone, env=environment, stdout=output, stderr=output, start_new_session=True
            )
        try:
            ready = _wait_for(run, log, "is ready on", began)
            body = json.dumps({"messages": [{"role": "user", "content": "Hello"}]})
            url = f"http://127.0.0.1:{PORT}/v1/chat/completions"
            asked = ["curl", "--silent", "--fail", url, "-H", "Content-Type: application/json", "-d", body]
            answer = json.loads(subprocess.run(asked, check=True, capture_output=True).stdout)
            seconds = time.perf_counter() - began
        finally:
            _stop(run)
    text = answer["choices"][0]["message"]["content"]
    bar = 480.0 if cold else 90.0
    yield Row(
        what=f"clean clone to first answer, wheel cache {'empty' if cold else 'warm'}",
        bar=f"<= {bar:.0f} s",
        measured=f"{seconds:.0f} s (ready after {ready:.0f} s): {answer['model']}: {text!r}",
        passed=seconds <= bar and bool(text),
        numbers={"ready_s": ready, "answer_s": seconds},
    )


def _wait_for(run: subprocess.Popen[bytes], log: Path, words: str, began: float) -> float:
    while words not in log.read_text():
        if run.poll() is not None or time.perf_counter() - began > LIMIT_S:
            raise RuntimeError(f"make run did not get ready: {log.read_text()[-2000:]}")
        time.sleep(0.05)
    return time.perf_counter() - began


def _stop(run: subprocess.Popen[bytes]) -> None:
    os.killpg(run.pid, signal.SIGTERM)
    try:
        run.wait(STOP_S)
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cold", action="store_true", help="compile the wheel too")
    given = parser.parse_args()
    groups = {"first answer": partial(first_answer, cold=given.cold)}
    return 0 if run_rows(groups, {"benchmark": "first answer"}) else 1


if __name__ == "__main__":
    sys.exit(main())
