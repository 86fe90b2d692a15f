"""Embeddings over HTTP: how long one takes, how many there are a second, whether they are always the same."""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.client import call
from benchmarks.daemon import Daemon
from benchmarks.embedding.clients import closed_loop, payload, vectors_of
from benchmarks.embedding.raw import RawModel
from benchmarks.embedding.sentences import short, varied
from benchmarks.process import resident_bytes
from benchmarks.report import Row

_MB = 1_000_000


@dataclass(frozen=True)
class Bench:
    """A daemon that serves the artifact, called `model`, and the raw loop on the same graph with the same threads."""

    daemon: Daemon
    model: str
    raw: RawModel
    file_bytes: int
    threads: int
    quick: bool

    def repeats(self, number: int) -> int:
        return max(2, number // 10) if self.quick else number

    @property
    def worker_pid(self) -> int:
        pid: int = self.daemon.model(self.model)["pid"]
        return pid

    def embed(self, texts: list[str]) -> Any:
        """float32 [texts, dim]."""
        body = {"model": self.model, "input": texts, "encoding_format": "base64"}
        return vectors_of(call(self.daemon.port, "/v1/embeddings", body, timeout_s=600).json())


def single(bench: Bench) -> Iterator[Row]:
    """In turns of 50, so that whatever else the machine does meets both."""
    served: list[float] = []
    raw: list[float] = []
    for turn in range(bench.repeats(20)):
        texts = short(50, seed=100 + turn)
        raw += bench.raw.seconds("each", texts)
        served += closed_loop(bench.daemon.port, [payload(bench.model, text) for text in texts], 1)[1]
    p50, raw_p50 = statistics.median(served) * 1e3, statistics.median(raw) * 1e3
    yield Row(
        what="one sentence of 10 words, p50",
        bar="<= raw run + tokenization + 2 ms",
        measured=f"{p50:.2f} ms, raw {raw_p50:.2f} ms (+{p50 - raw_p50:.2f} ms), {len(served)} requests",
        passed=p50 <= raw_p50 + 2,
        numbers={"p50_ms": p50, "raw_p50_ms": raw_p50, "p95_ms": _percentile(served, 0.95) * 1e3},
    )


def many(bench: Bench, torch_python: str | None, checkpoint: Path | None) -> Iterator[Row]:
    count = 200 if bench.quick else 2_000
    texts = varied(count)
    request = payload(bench.model, texts)
    served: list[float] = []
    raw: list[float] = []
    bench.raw.seconds("sorted", texts[:100])
    closed_loop(bench.daemon.port, [payload(bench.model, texts[:100])], 1)
    for _ in range(bench.repeats(5)):
        raw += bench.raw.seconds("sorted", texts)
        served.append(closed_loop(bench.daemon.port, [request], 1)[0])
    rate, raw_rate = count / statistics.median(served), count / statistics.median(raw)
    yield Row(
        what=f"{count:,} sentences of 5 to 200 tokens",
        bar=">= 0.95 of the raw sorted loop",
        measured=f"{rate / raw_rate:.3f} ({rate:.0f} sentences/s, raw {raw_rate:.0f})",
        passed=rate >= 0.95 * raw_rate,
        numbers={"served_s": served, "raw_s": raw},
    )
    if torch_python is None or checkpoint is None:
        return
    torch = _torch(torch_python, checkpoint, bench.threads, texts)
    torch_rate = count / torch["seconds"]
    yield Row(
        what="the same against torch FP32",
        bar=">= 1.8 of sentence-transformers",
        measured=f"{rate / torch_rate:.2f} ({torch['library']}: {torch_rate:.0f} sentences/s)",
        passed=rate >= 1.8 * torch_rate,
        numbers=torch,
    )


def concurrent(bench: Bench) -> Iterator[Row]:
    one: list[float] = []
    crowd: list[float] = []
    for turn in range(3):
        few = [payload(bench.model, text) for text in short(bench.repeats(300), seed=200 + turn)]
        lots = [payload(bench.model, text) for text in short(bench.repeats(1_920), seed=300 + turn)]
        one.append(len(few) / closed_loop(bench.daemon.port, few, 1)[0])
        crowd.append(len(lots) / closed_loop(bench.daemon.port, lots, 32)[0])
    ratio = statistics.median(crowd) / statistics.median(one)
    yield Row(
        what="32 clients with one sentence at a time",
        bar=">= 2.5 of one client's throughput",
        measured=f"{ratio:.2f} ({statistics.median(crowd):.0f} requests/s, one client {statistics.median(one):.0f})",
        passed=ratio >= 2.5,
        numbers={"one": one, "crowd": crowd},
    )


def same(bench: Bench) -> Iterator[Row]:
    import numpy as np

    texts = varied(bench.repeats(200), seed=9)
    order = list(range(len(texts)))
    random.Random(3).shuffle(order)
    alone = np.concatenate([bench.embed([text]) for text in texts])
    together = bench.embed(texts)
    shuffled = np.empty_like(together)
    shuffled[order] = bench.embed([texts[place] for place in order])
    worst = min(float((alone * other).sum(1).min()) for other in (together, shuffled))
    yield Row(
        what="the same text alone, in a batch, in any order",
        bar="cosine >= 0.9999",
        measured=f"worst {worst:.6f} of {2 * len(texts)}",
        passed=worst >= 0.9999,
        numbers={"worst": worst},
    )


def memory(bench: Bench) -> Iterator[Row]:
    total = 2_000 if bench.quick else 50_000
    texts = [payload(bench.model, text) for text in varied(2_000, most=60, seed=4)]
    bench.embed(varied(500, seed=5))  # the largest batches come first
    sizes: list[int] = []
    for _ in range(10):
        closed_loop(bench.daemon.port, [texts[number % len(texts)] for number in range(total // 10)], 8)
        sizes.append(resident_bytes(bench.worker_pid))
    limit = 3 * bench.file_bytes + 90 * _MB
    spread = (max(sizes) - min(sizes)) / sizes[0]
    yield Row(
        what="the worker's resident memory",
        bar="<= 3x the file + 90 MB",
        measured=f"{max(sizes) / _MB:.0f} MB, the limit is {limit / _MB:.0f} MB",
        passed=max(sizes) <= limit,
        numbers={"bytes": sizes},
    )
    yield Row(
        what=f"the same over {total:,} requests",
        bar="flat within 2%",
        measured=f"{spread:.2%} between the tenths ({sizes[0] / _MB:.1f} MB first, {sizes[-1] / _MB:.1f} MB last)",
        passed=spread <= 0.02,
        numbers={"bytes": sizes},
    )


def _torch(python: str, checkpoint: Path, threads: int, texts: list[str]) -> dict[str, Any]:
    script = Path(__file__).with_name("torch_peer.py")
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump(texts, file)
        file.flush()
        command = [python, str(script), str(checkpoint), str(threads), file.name]
        done = subprocess.run(command, capture_output=True, text=True, timeout=1_800, check=False)
    if done.returncode:
        raise RuntimeError(f"{python}: {done.stderr[-500:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]
