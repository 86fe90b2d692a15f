"""Collections: an exact search over 100,000 passages, what they take on the disk, and indexing that is killed."""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from agent.search.collection import Collection
from agent.search.indexing import steps
from agent.search.model_id import ModelId
from agent.search.query import Query
from agent.search.row import Row as SourceRow
from agent.search.shelf import Shelf
from benchmarks.embedding import search_child
from benchmarks.report import Row

PASSAGES = 100_000
DIM = 384
K = 10
_MODEL = ModelId("made-up", "1", DIM)
_MB = 1_000_000
_ROOT = Path(__file__).resolve().parents[2]


def search(*, quick: bool) -> Iterator[Row]:
    """The vectors lie in clusters, as those of real texts do: 1,000 directions and noise of the same length."""
    import numpy as np

    count = PASSAGES // 10 if quick else PASSAGES
    generator = np.random.default_rng(7)

    def units(rows: int) -> Any:
        made = generator.standard_normal((rows, DIM), dtype=np.float32)
        return made / np.linalg.norm(made, axis=1, keepdims=True)

    centers = units(1_000)
    near = generator.integers(0, 1_000, count)
    vectors = centers[near] + units(count)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = np.concatenate([units(20), centers[:20] + 0.7 * units(20)])
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    with TemporaryDirectory() as folder:
        shelf = Shelf(Path(folder))
        started = time.perf_counter()
        collection = shelf.create("bench", _MODEL, ["text"])
        _fill(collection, count, vectors)
        build_s = time.perf_counter() - started
        collection.close()
        disk_bytes = sum(file.stat().st_size for file in Path(folder).iterdir())
        collection = shelf.open("bench")
        ms: list[float] = []
        cpu_ms: list[float] = []
        exact = 0
        for query in queries:
            wall, cpu = time.perf_counter(), time.thread_time()
            hits = collection.search(Query(vector=query.tobytes(), k=K))
            ms.append((time.perf_counter() - wall) * 1e3)
            cpu_ms.append((time.thread_time() - cpu) * 1e3)
            # In float64: float32 products in another order could swap neighbors that are equal to the last bit.
            scores = vectors.astype(np.float64) @ query.astype(np.float64)
            best = np.sort(scores)[::-1][:K]
            found = np.array([scores[int(hit.id)] for hit in hits])
            exact += int(len(found) == K and bool(np.all(np.abs(found - best) < 1e-6)))
        collection.close()
    p50 = statistics.median(ms)
    yield Row(
        what=f"search over {count:,} x {DIM}, k={K}",
        bar="exact, p50 <= 25 ms",
        measured=f"{exact} of {len(queries)} exact, p50 {p50:.1f} ms ({statistics.median(cpu_ms):.1f} ms of CPU)",
        passed=exact == len(queries) and p50 <= 25,
        numbers={"ms": ms, "cpu_ms": cpu_ms, "exact": exact, "build_s": build_s},
    )
    limit_mb = 250 * count / PASSAGES
    yield Row(
        what=f"disk for {count:,} x {DIM}, texts of 100 signs",
        bar=f"<= {limit_mb:.0f} MB",
        measured=f"{disk_bytes / _MB:.1f} MB",
        passed=disk_bytes <= limit_mb * _MB,
        numbers={"bytes": disk_bytes},
    )


def _fill(collection: Collection, count: int, vectors: Any) -> None:
    letters = random.Random(3)
    words = ["".join(letters.choices("abcdefghijklmnopqrstuvwxyz", k=letters.randint(2, 9))) for _ in range(20_000)]

    def rows() -> Iterator[SourceRow]:
        for number in range(count):
            text = f"{number} " + " ".join(letters.choices(words, k=15))
            yield SourceRow(str(number), text[:100], {"topic": f"topic {number % 50}"}, number)

    intake, source = collection.intake("bench"), rows()
    while collection.take(intake, source):
        pass
    run = steps(collection, 512)
    texts = next(run)
    while True:
        try:
            texts = run.send([vectors[int(text.split()[0])].tobytes() for text in texts])
        except StopIteration:
            return


def killed(*, quick: bool) -> Iterator[Row]:
    """20,000 rows, indexed by a process that is killed at random moments, and started again each time."""
    count, kills = (2_000, 3) if quick else (20_000, 10)
    moments = random.Random(5)
    with TemporaryDirectory() as name:
        folder = Path(name)
        source, log = folder / "rows.csv", folder / "log"
        write_csv(source, count)
        started = time.perf_counter()
        done = kill_often(folder, source, log, moments, count, kills)
        ended = finish(folder, source, log)
        seconds = time.perf_counter() - started
        problems = [f"the last run ended with {ended}"] if ended else []
        problems += check(folder, log, count, done)
        again = sum(Counter(log.read_text().split()).values()) - count
    yield Row(
        what=f"{count:,} rows, killed with -9 {done} times",
        bar="none lost or twice, <= 1 batch again",
        measured=f"{again} embedded again ({again / max(done, 1):.0f} a kill, a batch has {search_child.BATCH_ROWS}), "
        f"{seconds:.0f} s" + (f"; {problems[0]}" if problems else ""),
        passed=not problems and done == kills,
        numbers={"kills": done, "again": again, "problems": problems},
    )


def write_csv(path: Path, count: int) -> None:
    """Rows `id,text,group`, whose texts begin with the id."""
    lines = (
        f'{number},"{number} the text of row {number}, {"long " * (number % 13)}",{number % 7}'
        for number in range(count)
    )
    path.write_text("id,text,group\n" + "\n".join(lines) + "\n", "utf-8")


def check(folder: Path, log: Path, count: int, kills: int) -> list[str]:
    """What is wrong with the collection that was killed `kills` times, and what was embedded more than it may."""
    problems: list[str] = []
    collection = Shelf(folder).open(search_child.NAME)
    collection.check()
    found: list[str] = []
    after: str | None = None
    while page := collection.passages(after=after, limit=1_000):
        found += [passage.id for passage in page]
        after = page[-1].id
    if Counter(found) != Counter(str(number) for number in range(count)):
        problems.append(f"{len(found)} passages, {len(set(found))} different ones, {count} rows")
    if waiting := collection.count_waiting():
        problems.append(f"{waiting} have no vector")
    for number in random.Random(1).sample(range(count), 20):
        text = next(iter(collection.search(Query(text=f"{number}", mode="text", k=1)))).text
        hits = collection.search(Query(vector=search_child.vector_of(text), k=1))
        if hits[0].id != str(number) or hits[0].score < 0.999_999:
            problems.append(f"row {number} has another row's vector")
    collection.close()
    times = Counter(log.read_text().split())
    if len(times) != count:
        problems.append(f"{len(times)} rows were embedded")
    if (again := sum(times.values()) - count) > kills * search_child.BATCH_ROWS:
        problems.append(f"{again} embedded again in {kills} kills")
    return problems


def kill_often(folder: Path, source: Path, log: Path, moments: random.Random, count: int, kills: int) -> int:
    """How many of the `kills` met a process that was still at it."""
    done = 0
    for _ in range(kills):
        done += _killed_once(folder, source, log, moments, done, count, kills)
    return done


def finish(folder: Path, source: Path, log: Path) -> int:
    """The exit status of a run that is left alone."""
    return _start(folder, source, log).wait()


def _killed_once(
    folder: Path, source: Path, log: Path, moments: random.Random, before: int, count: int, kills: int
) -> int:
    """Start, wait until a random moment, kill: 1, or 0 where it was finished before.

    At the latest that is when a random part of this run's share has been embedded, so that there is work for
    every kill; every second time it may be any moment before, so that it also falls into the reading of the rows.
    """
    child = _start(folder, source, log)
    begun = _batches(log)
    limit = begun + moments.uniform(0.5, 1.0) * count / search_child.BATCH_ROWS / (kills + 1)
    deadline = time.monotonic() + moments.uniform(0.1, 0.8)
    while child.poll() is None:
        if _batches(log) >= limit or (before % 2 == 0 and time.monotonic() >= deadline):
            break
        time.sleep(moments.uniform(0.0005, 0.004))
    finished = child.poll() is not None
    child.kill()
    child.wait()
    return 0 if finished else 1


def _batches(log: Path) -> int:
    return log.read_bytes().count(b"\n") if log.exists() else 0


def _start(folder: Path, source: Path, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmarks.embedding.search_child", str(folder), str(source), str(log)]
    return subprocess.Popen(command, cwd=_ROOT)


GROUPS = {"search": search, "killed": killed}
