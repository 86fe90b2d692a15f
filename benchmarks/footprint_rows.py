"""What the daemon and its workers take when nobody asks for anything, and whether it was foreseen."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import process
from benchmarks.bench import MODEL, completion, completion_tokens
from benchmarks.client import call, exchange_all
from benchmarks.daemon import Daemon, memory_total
from benchmarks.raw_child import RawChild
from benchmarks.report import Row

_MB = 1_000_000


def idle_daemon(*, quick: bool) -> Iterator[Row]:
    """A daemon without models: seconds to the first 200 of /health, resident memory and share of a core."""
    ready_s = []
    watch_s = 3.0 if quick else 30.0
    # The first start compiles bytecode on a fresh checkout, which happens once.
    for _ in range(2 if quick else 6):
        with Daemon() as daemon:
            ready_s.append(daemon.ready_s)
    with Daemon() as daemon:
        time.sleep(2)
        used_s = process.cpu_s(daemon.pid)
        time.sleep(watch_s)
        core_share = (process.cpu_s(daemon.pid) - used_s) / watch_s
        resident = process.resident_bytes(daemon.pid)
    ready = statistics.median(ready_s[1:])
    yield Row(
        what="daemon without models: ready",
        bar="<= 1 s",
        measured=f"{ready:.2f} s (worst {max(ready_s):.2f} s)",
        passed=ready <= 1,
        numbers={"ready_s": ready_s},
    )
    yield Row(
        what="daemon without models: memory",
        bar="<= 60 MB RSS",
        measured=f"{resident / _MB:.1f} MB",
        passed=resident <= 60 * _MB,
        numbers={"resident_bytes": resident},
    )
    yield Row(
        what="daemon without models: processor",
        bar="<= 0.5% of a core",
        measured=f"{core_share:.2%} over {watch_s:.0f} s",
        passed=core_share <= 0.005,
        numbers={"core_share": core_share},
    )


def memory(files: Mapping[str, Path], *, quick: bool) -> Iterator[Row]:
    """Each model loaded alone: what was predicted, what the operating system shows, what is beyond the model itself."""
    for label, path in files.items():
        # Embedding models have fixed, short contexts of their own.
        table: dict[str, Any] = {"keep_alive_s": -1, "prefix_cache_mb": 0}
        if "minilm" not in label:
            table |= {"context_tokens": 4096, "slots": 4}
        daemon = Daemon(models={MODEL: table})
        daemon.import_model(path, MODEL)
        with daemon:
            model = daemon.wait_until_loaded(MODEL)
            after_load = process.resident_bytes(model["pid"])
            _touch(daemon, model["task"], quick=quick)
            after_use = process.resident_bytes(model["pid"])
            shared = after_use - process.proportional_bytes(model["pid"])
        floor = None if model["task"] == "embed" else _raw_resident(path)
        yield from _memory_rows(label, model, after_load, after_use, shared, floor)


def _touch(daemon: Daemon, task: str, *, quick: bool) -> None:
    """Use all buffers, so that what was reserved is resident: a long prompt and every slot."""
    if task == "embed":
        body = {"model": MODEL, "input": ["play music " * 100] * 4, "truncate": True}
        call(daemon.port, "/v1/embeddings", body)
        return
    long = completion("ba " * (300 if quick else 1200), 8)
    exchange_all(daemon.port, [long])
    completion_tokens(long)
    exchange_all(daemon.port, [completion(f"{i} do", 16) for i in range(4)])


def _raw_resident(path: Path) -> int:
    """The raw loop's process with the same context and sequences: Python, numpy, llama.cpp and its vocabulary."""
    with RawChild(path, sequences=4, context_tokens=4096, threads=1) as raw:
        raw.run([raw.prompt(600, 0)], 4)
        return process.resident_bytes(raw.pid)


def _memory_rows(
    label: str, model: Mapping[str, Any], after_load: int, after_use: int, shared: int, raw_resident: int | None
) -> Iterator[Row]:
    predicted, loaded = model["predicted"], model["loaded"]["memory"]
    foreseen = memory_total(predicted)
    error = foreseen / after_use - 1
    numbers = {
        "predicted": predicted,
        "loaded": loaded,
        "resident_after_load_bytes": after_load,
        "resident_after_use_bytes": after_use,
    }
    yield Row(
        what=f"predicted memory, {label}",
        bar="within 10% of measured",
        measured=f"{error:+.1%} ({foreseen / _MB:.0f} MB predicted, {after_use / _MB:.0f} MB resident in use, "
        f"{after_load / _MB:.0f} MB after loading)",
        passed=abs(error) <= 0.1,
        numbers=numbers,
    )
    own = sum(loaded[part] for part in ("weights_bytes", "kv_bytes", "compute_bytes"))
    overhead = after_use - own
    yield Row(
        what=f"worker beyond the model, {label}",
        bar="<= 60 MB",
        measured=f"{overhead / _MB:.1f} MB ({after_use / _MB:.0f} MB resident, model {own / _MB:.0f} MB, "
        f"{shared / _MB:.1f} MB shared with other processes)"
        + (f"; the raw loop's process: {(raw_resident - own) / _MB:.1f} MB" if raw_resident else ""),
        passed=overhead <= 60 * _MB,
        numbers={**numbers, "overhead_bytes": overhead, "raw_resident_bytes": raw_resident},
    )
