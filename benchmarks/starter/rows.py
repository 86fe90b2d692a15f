"""The models that ship: cold start, memory of all of them, and from a spoken command to its action.

    python -m benchmarks.starter.rows ../shared/audio/commands [--whisper COMMANDS]

`--whisper` is a transcription artifact to use instead of one that ships. The commands are played into the microphone,
PulseAudio's null sink (as root, on Linux). Prints a table, and one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.client import Exchange, call
from benchmarks.daemon import Daemon
from benchmarks.process import children, resident_bytes
from benchmarks.report import Row, run_rows
from benchmarks.speech.null_sink import NullSink, why_not

COMMANDS = 15
SETTLE_S = 6.0


def cold(repeats: int) -> Iterator[Row]:
    """A fresh daemon each time, with empty state: from its start to the first token of a chat."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        with Daemon(settings={"starter_models": "always"}) as daemon:
            body = {"messages": [{"role": "user", "content": "Hello!"}], "model": "starter-chat", "max_tokens": 1}
            answer = call(daemon.port, "/v1/chat/completions", body)
            seconds.append(time.perf_counter() - began)
            if answer.status != 200:
                raise RuntimeError(answer.body.decode())
    middle = statistics.median(seconds)
    yield Row(
        what="daemon start to first token of starter-chat",
        bar="<= 1.5 s cold",
        measured=f"median {middle:.2f} s, most {max(seconds):.2f} s of {repeats}",
        passed=middle <= 1.5,
        numbers={"seconds": seconds},
    )


def spoken(daemon: Daemon, sink: NullSink, recordings: Path) -> Iterator[Row]:
    listed = sorted(json.loads((recordings / "transcripts.json").read_text()).items())[:COMMANDS]
    totals, shown = [], []
    call(daemon.port, "/v1/audio/live/start", {})
    limit = time.monotonic() + 20
    while daemon.status()["microphone"]["state"] != "open":
        if time.monotonic() > limit:
            raise RuntimeError(str(daemon.status()["microphone"]))
        time.sleep(0.1)
    time.sleep(SETTLE_S)
    for name, text in listed:
        answers: list[Exchange] = []
        asking = threading.Thread(
            target=lambda into: into.append(call(daemon.port, "/v1/assist", {"microphone": True})), args=(answers,)
        )
        asking.start()
        time.sleep(0.3)
        sink.play(recordings / name).wait()
        asking.join(timeout=30)
        answer = answers[0].json()
        if answer["action"] is not None:
            totals.append(answer["timings"]["total_s"])
        shown.append({"said": text, **answer})
        time.sleep(0.5)
    call(daemon.port, "/v1/audio/live/stop", {})
    middle = statistics.median(totals) if totals else float("inf")
    yield Row(
        what=f"{len(listed)} spoken commands to actions",
        bar="end of speech to answer <= 1 s, median",
        measured=f"{len(totals)} answered, median {middle:.2f} s, most {max(totals, default=0.0):.2f} s",
        passed=len(totals) == len(listed) and middle <= 1.0,
        numbers={"answers": shown},
    )


def memory(daemon: Daemon, whisper: str | None) -> Iterator[Row]:
    names = ["starter-chat", "starter-embed", whisper or "starter-whisper"]
    call(daemon.port, "/v1/embeddings", {"input": ["hello"], "model": "starter-embed"})
    for name in names:
        daemon.wait_until_loaded(name)
    workers = [pid for pid in children(daemon.pid) if b"engines.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    sizes = [resident_bytes(pid) / 2**20 for pid in (daemon.pid, *workers)]
    yield Row(
        what="all three models loaded, daemon included",
        bar="<= 350 MB resident",
        measured=f"{sum(sizes):.0f} MB (daemon {sizes[0]:.0f}, workers {', '.join(f'{one:.0f}' for one in sizes[1:])})",
        passed=sum(sizes) <= 350 and len(workers) == len(names),
        numbers={"megabytes": sizes},
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", type=Path, help="the folder with transcripts.json")
    parser.add_argument("--whisper", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    if reason := why_not():
        print(f"starter: skipped: {reason}")
        return 0
    whisper = None
    with tempfile.TemporaryDirectory(prefix="edge-agent-sound-") as folder, NullSink(Path(folder)) as sink:
        os.environ.update(sink.environment)
        daemon = Daemon(settings={"starter_models": "auto"})
        if given.whisper is not None:
            whisper = str(json.loads((given.whisper / "manifest.json").read_text())["name"])
            daemon.import_model(given.whisper, whisper)
        with daemon:
            groups: dict[str, Callable[[], Iterator[Row]]] = {
                "cold start": partial(cold, given.repeats),
                "spoken": partial(spoken, daemon, sink, given.recordings),
                "memory": partial(memory, daemon, whisper),
            }
            return 0 if run_rows(groups, {"benchmark": "starter"}) else 1


if __name__ == "__main__":
    sys.exit(main())
