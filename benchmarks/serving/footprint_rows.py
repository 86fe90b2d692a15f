"""What the daemon and its workers take when nobody asks for anything, and whether it was foreseen."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import process
from benchmarks.client import call, exchange_all
from benchmarks.daemon import Daemon, memory_total
from benchmarks.report import Row
from benchmarks.serving.bench import MODEL, completion, completion_tokens
from benchmarks.serving.raw_child import RawChild

_MB = 1_000_000
_SMALLEST_CHUNK_TOKENS = 32
"""Of a prompt, however slow the board (agent/engines/llama/pace.py)."""


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
    """Each model loaded alone: what was predicted, what the operating system shows, what is beyond the model itself.

    The second is measured twice for a model that generates: a board computes a prompt in the chunks that it manages in
    a third of a second, so how much of the compute buffers is ever written depends on its speed, and all of them are
    subtracted. With the smallest chunk for a micro-batch they are written whole.
    """
    for label, path in files.items():
        # Embedding models have fixed, short contexts of their own.
        table: dict[str, Any] = {"keep_alive_s": -1, "prefix_cache_mb": 0}
        if "minilm" not in label:
            table |= {"context_tokens": 4096, "slots": 4}
        asked = _loaded_alone(path, table, words=300 if quick else 1200)
        whole, floor = asked, None
        if asked.model["task"] != "embed":
            small = {"batch_tokens": _SMALLEST_CHUNK_TOKENS, "micro_batch_tokens": _SMALLEST_CHUNK_TOKENS}
            whole = _loaded_alone(path, table | small, words=300)
            floor = _raw_resident(path)
        yield from _memory_rows(label, asked, whole, floor)


@dataclass(frozen=True, kw_only=True)
class _Footprint:
    """`model` as /status shows it; bytes of its worker, resident as the operating system counts them."""

    model: Mapping[str, Any]
    after_load: int
    after_use: int
    shared: int

    @property
    def own(self) -> int:
        """Weights, KV cache and compute buffers."""
        loaded = self.model["loaded"]["memory"]
        return sum(loaded[part] for part in ("weights_bytes", "kv_bytes", "compute_bytes"))

    @property
    def beyond(self) -> int:
        return self.after_use - self.own


def _loaded_alone(path: Path, table: Mapping[str, Any], *, words: int) -> _Footprint:
    daemon = Daemon(models={MODEL: table})
    daemon.import_model(path, MODEL)
    with daemon:
        model = daemon.wait_until_loaded(MODEL)
        after_load = process.resident_bytes(model["pid"])
        _touch(daemon, model["task"], words=words)
        after_use = process.resident_bytes(model["pid"])
        shared = after_use - process.proportional_bytes(model["pid"])
    return _Footprint(model=model, after_load=after_load, after_use=after_use, shared=shared)


def _touch(daemon: Daemon, task: str, *, words: int) -> None:
    """Use what was reserved, so that it is resident: a prompt of so many `words`, and every slot."""
    if task == "embed":
        body = {"model": MODEL, "input": ["play music " * 100] * 4, "truncate": True}
        call(daemon.port, "/v1/embeddings", body)
        return
    long = completion("ba " * words, 8)
    exchange_all(daemon.port, [long], timeout_s=600)
    completion_tokens(long)
    exchange_all(daemon.port, [completion(f"{i} do", 16) for i in range(4)], timeout_s=600)


def _raw_resident(path: Path) -> int:
    """The raw loop's process with the same context and sequences: Python, numpy, llama.cpp and its vocabulary."""
    with RawChild(path, sequences=4, context_tokens=4096, threads=1) as raw:
        raw.run([raw.prompt(600, 0)], 4)
        return process.resident_bytes(raw.pid)


def _memory_rows(label: str, asked: _Footprint, whole: _Footprint, raw_resident: int | None) -> Iterator[Row]:
    predicted = asked.model["predicted"]
    foreseen = memory_total(predicted)
    error = foreseen / asked.after_use - 1
    numbers = {
        "predicted": predicted,
        "loaded": asked.model["loaded"]["memory"],
        "resident_after_load_bytes": asked.after_load,
        "resident_after_use_bytes": asked.after_use,
    }
    yield Row(
        what=f"predicted memory, {label}",
        bar="within 10% of measured",
        measured=f"{error:+.1%} ({foreseen / _MB:.0f} MB predicted, {asked.after_use / _MB:.0f} MB resident in use, "
        f"{asked.after_load / _MB:.0f} MB after loading)",
        passed=abs(error) <= 0.1,
        numbers=numbers,
    )
    worst = max(asked.beyond, whole.beyond)
    yield Row(
        what=f"worker beyond the model, {label}",
        bar="<= 60 MB",
        measured=f"{worst / _MB:.1f} MB ({asked.after_use / _MB:.0f} MB resident, model {asked.own / _MB:.0f} MB, "
        f"{asked.shared / _MB:.1f} MB shared with other processes)"
        + (f"; {asked.beyond / _MB:.1f} MB with compute buffers partly written" if whole is not asked else "")
        + (f"; the raw loop's process: {(raw_resident - asked.own) / _MB:.1f} MB" if raw_resident else ""),
        passed=worst <= 60 * _MB,
        numbers={
            **numbers,
            "overhead_bytes": asked.beyond,
            "overhead_buffers_whole_bytes": whole.beyond,
            "raw_resident_bytes": raw_resident,
        },
    )
