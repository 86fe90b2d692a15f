"""What those who are being served feel of a model update: requests that fail, and the time between two tokens, while a
new version is tried and while it takes over.

    python -m benchmarks.updates.switch                               # a generated model, seconds of work
    python -m benchmarks.updates.switch --model qwen2.5-0.5b-q4_k_m.gguf --seconds 20

The real store, runtime, workers, trial and switch, without HTTP. Clients ask without a pause, so the trial finds no
quiet moment: that is the hardest case for them, and the speed of the candidate is not compared in it.

What else the machine does moves the gaps by more than an update does. So while the other version's worker is there, it
is stopped (SIGSTOP) for every other second, and the gaps of those seconds are what serving alone takes at that time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import itertools
import json
import os
import platform
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from agent.errors import EdgeAgentError
from agent.hardware.board import detect
from agent.hardware.memory import read_memory
from agent.runtime.service import Runtime
from agent.runtime.spec import Limits as RuntimeLimits
from agent.runtime.spec import ModelSpec
from agent.runtime.wire.generation import Delta, Generate, Sampling
from agent.runtime.wire.options import LlamaOptions
from agent.store.layout import StoredModel
from agent.store.manifest import ArtifactFile, Manifest, MemoryNeed, encode_manifest
from agent.store.store import Store
from agent.updates.parts import Limits, Verdict
from agent.updates.trial.golden import FILE
from agent.updates.trial.switching import Switcher
from agent.updates.trial.trial import Trial
from benchmarks.models import shapes
from benchmarks.process import children
from benchmarks.report import Row, run_rows

CLIENTS = 2
ANSWER_TOKENS = 64
GOLDEN_CASES = 8
GAP_BAR = 2.0
LEAST_GAPS = 100
TURN_S = 1.0
SETTLE_S = 0.15
"""After each turn: gaps that began before it count for neither side."""
LIMITS = Limits(
    speed_ratio=0.5,
    memory_ratio=1.5,
    load_timeout_s=120,
    trial_timeout_s=90,
    hang_timeout_s=60,
    probation_s=600,
    probation_requests=20,
    probation_crashes=1,
    probation_error_ratio=0.2,
    probation_error_requests=5,
)

T = TypeVar("T")


class Device:
    """A store with two versions of one model and a runtime that serves them; `budget_bytes` bounds all models."""

    def __init__(self, folder: Path, model: Path, *, threads: int, slots: int) -> None:
        self.budget_bytes = read_memory().available_bytes
        self._options = LlamaOptions(context_tokens=2048, slots=slots, threads=threads, threads_batch=threads)
        self.store = Store(folder / "models")
        self.runtime = Runtime(RuntimeLimits(quiet_wait_s=3.0), memory=lambda held_bytes: self.budget_bytes)
        for version in ("1", "2"):
            self._import(folder, model, version)
        self.trial = Trial(self.runtime, self.spec_of)
        self.switcher = Switcher(self.runtime, self.store, self.changed, cores=detect().usable_cores)

    def spec_of(self, stored: StoredModel) -> ModelSpec:
        return ModelSpec(
            name=stored.name,
            version=stored.version,
            task="generate",
            path=str(stored.main_path),
            options=self._options,
            keep_alive_s=None,
        )

    async def changed(self) -> None:
        self.runtime.set_models([self.spec_of(model) for model in self.store.models() if model.active])

    async def judge(self, limits: Limits) -> Verdict:
        return await self.trial.judge(self.store.get("m", "2"), self.store.active("m"), limits)

    def _import(self, folder: Path, model: Path, version: str) -> None:
        source = folder / "artifact"
        source.mkdir()
        shutil.copyfile(model, source / "model.gguf")
        case = {"kind": "exact", "prompt": "Once upon a time", "answers": [""], "max_tokens": 16}
        text = {"kind": "perplexity", "text": "The harbor was frozen, and the ships lay still. " * 4}
        (source / FILE).write_text("\n".join(json.dumps(one) for one in [case, text] * (GOLDEN_CASES // 2)))
        files = [_described(path) for path in sorted(source.iterdir())]
        manifest = Manifest(
            name="m", version=version, task="generate", format="gguf", files=tuple(files), context=2048,
            quantization="?", memory_bytes=MemoryNeed(weights=model.stat().st_size, per_1k_context=0, compute=0),
            gates={"golden": FILE, "least_exact": 0.0},
        )  # fmt: skip
        (source / "manifest.json").write_bytes(encode_manifest(manifest))
        self.store.import_folder(source, transfer="move")
        shutil.rmtree(source, ignore_errors=True)


class Load:
    """Clients that ask without a pause. Gaps are seconds between two arrivals of one answer, by what happened then."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.phase = "alone"
        self.gaps: defaultdict[str, list[float]] = defaultdict(list)
        self.waits: defaultdict[str, list[float]] = defaultdict(list)
        self.answers = 0
        self.failures: list[str] = []
        self.done = False

    async def client(self, number: int) -> None:
        while not self.done:
            request = Generate(
                prompt=f"Client {number} asks for a story about a harbor.",
                max_tokens=ANSWER_TOKENS,
                sampling=Sampling(temperature=0),
                ignore_eos=True,
            )
            try:
                await self._ask(number, request)
                self.answers += 1
            except EdgeAgentError as error:
                self.failures.append(error.message)
                await asyncio.sleep(0.1)

    async def _ask(self, number: int, request: Generate) -> None:
        asked = time.perf_counter()
        last: float | None = None
        tokens = 0
        async with self._runtime.submit("m", request, client=str(number)) as stream:
            async for events in stream:
                now = time.perf_counter()
                fresh = sum(event.tokens for event in events if isinstance(event, Delta))
                if not fresh:
                    continue
                tokens += fresh
                if last is None:
                    self.waits[self.phase].append(now - asked)
                else:
                    self.gaps[self.phase] += [(now - last) / fresh] * fresh
                last = now
        if tokens != ANSWER_TOKENS:
            self.failures.append(f"an answer of {tokens} tokens")


@asynccontextmanager
async def serving(device: Device) -> AsyncIterator[Load]:
    await device.changed()
    task = asyncio.create_task(device.runtime.run())
    await asyncio.sleep(0)
    await device.runtime.load("m")
    load = Load(device.runtime)
    clients = [asyncio.create_task(load.client(number)) for number in range(CLIENTS)]
    try:
        yield load
    finally:
        load.done = True
        await asyncio.wait(clients, timeout=120)
        await device.runtime.stop(grace_s=5)
        await task


async def take_turns(device: Device, load: Load, name: str) -> None:
    """Until cancelled: the worker that does not serve is stopped for every other second."""
    stopped: set[int] = set()
    try:
        for turn in itertools.count():
            (shown,) = device.runtime.models()
            others = set(children(os.getpid())) - {shown.pid} if shown.pid is not None else set()
            going = turn % 2 == 0 or not others
            load.phase = "turn"
            for pid in stopped if going else others:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT if going else signal.SIGSTOP)
            stopped = set() if going else others
            await asyncio.sleep(SETTLE_S)
            if not others:
                load.phase = "alone"
                continue
            load.phase = name if going else f"{name}, stopped"
            await asyncio.sleep(TURN_S)
    finally:
        load.phase = "turn"
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


async def turned(device: Device, load: Load, name: str, work: Awaitable[T]) -> tuple[T, float]:
    """The result of `work` and how long it took, with turns taken meanwhile."""
    turns = asyncio.create_task(take_turns(device, load, name))
    started = time.perf_counter()
    try:
        return await work, time.perf_counter() - started
    finally:
        turns.cancel()
        await asyncio.wait([turns])


async def update(device: Device, seconds: float, limits: Limits) -> tuple[Load, Verdict, dict[str, float]]:
    """One update under load: alone, the trial, the switch, the way back."""
    times: dict[str, float] = {}
    async with serving(device) as load:
        load.phase = "warming up"
        await asyncio.sleep(1.0)
        load.phase = "alone"
        await asyncio.sleep(seconds)
        verdict, times["trial_s"] = await turned(device, load, "trial", device.judge(limits))
        load.phase, started = "switch", time.perf_counter()
        await device.switcher.switch("m", "2")
        times["switch_s"] = time.perf_counter() - started
        await asyncio.sleep(seconds)
        _, times["back_s"] = await turned(device, load, "back", device.switcher.back("m", "1"))
        load.phase = "alone again"
        await asyncio.sleep(seconds)
    return load, verdict, times


def rows(
    model: Path, seconds: float, *, beside: bool, threads: int, trial_timeout_s: float = LIMITS.trial_timeout_s
) -> Iterator[Row]:
    """Without a quiet moment the trial takes about a sixth of `trial_timeout_s` and the time for its golden set."""
    limits = replace(LIMITS, trial_timeout_s=trial_timeout_s)
    where = "beside" if beside else "in its place"
    with tempfile.TemporaryDirectory(prefix="edge-agent-switch-") as folder:
        device = Device(Path(folder), model, threads=threads, slots=CLIENTS)

        async def run() -> tuple[Load, Verdict, dict[str, float]]:
            if not beside:
                charged = await _charged_bytes(device)
                device.budget_bytes = int(charged * 1.5)
                device.runtime = Runtime(RuntimeLimits(quiet_wait_s=3.0), memory=lambda held: device.budget_bytes)
                device.trial = Trial(device.runtime, device.spec_of)
                device.switcher = Switcher(device.runtime, device.store, device.changed, cores=detect().usable_cores)
            return await update(device, seconds, limits)

        load, verdict, times = asyncio.run(run())
    numbers: dict[str, Any] = {**times, "answers": load.answers, "verdict": list(verdict.reasons)}
    figures = {name: _gaps(values) for name, values in load.gaps.items() if len(values) > 1}
    numbers["gaps"] = figures
    numbers["longest_wait_s"] = {name: round(max(values), 3) for name, values in load.waits.items()}
    yield Row(
        what=f"requests through an update, {where}",
        bar="none fails, all complete",
        measured=f"{load.answers} answers, {len(load.failures)} failed; trial {times['trial_s']:.1f} s, "
        f"switch {times['switch_s']:.2f} s, back {times['back_s']:.2f} s",
        passed=not load.failures and verdict.passed and load.answers > 0,
        numbers={**numbers, "failures": load.failures[:5]},
    )
    yield _gap_row(load, figures, where)


def _gap_row(load: Load, figures: Mapping[str, Mapping[str, float]], where: str) -> Row:
    going = [gap for name in ("trial", "back") for gap in load.gaps[name]]
    stopped = [gap for name in ("trial, stopped", "back, stopped") for gap in load.gaps[name]]
    parts = ", ".join(f"{name} {figures[name]['p95_s'] * 1e3:.1f}" for name in figures if name != "turn")
    enough = min(len(going), len(stopped)) >= LEAST_GAPS
    ratio = _gaps(going)["p95_s"] / _gaps(stopped)["p95_s"] if enough else float("nan")
    median = _gaps(going)["p50_s"] / _gaps(stopped)["p50_s"] if enough else float("nan")
    return Row(
        what=f"p95 token gap while it is updated, {where}",
        bar=f"<= {GAP_BAR:g} x that of serving alone",
        measured=f"{ratio:.2f} x, p50 {median:.2f} x (p95 in ms: {parts})",
        passed=ratio <= GAP_BAR,
        numbers={"ratio": ratio, "median_ratio": median, "gaps": [len(going), len(stopped)]},
    )


async def _charged_bytes(device: Device) -> int:
    """What one version takes, by a runtime of its own."""
    await device.changed()
    task = asyncio.create_task(device.runtime.run())
    await asyncio.sleep(0)
    await device.runtime.load("m")
    charged = device.runtime.snapshot().ledger.charged_bytes
    await device.runtime.stop(grace_s=0)
    await task
    return charged


def _gaps(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "p50_s": statistics.median(ordered),
        "p95_s": ordered[int(0.95 * (len(ordered) - 1))],
        "longest_s": ordered[-1],
    }


def _described(path: Path) -> ArtifactFile:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return ArtifactFile(path=path.name, bytes=path.stat().st_size, sha256=digest)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a GGUF file; by default one of 30 million parameters is made")
    parser.add_argument("--seconds", type=float, default=8.0, help="for each phase of serving alone")
    parser.add_argument("--threads", type=int, default=detect().usable_cores)
    parser.add_argument("--only", choices=["beside", "in-place"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edge-agent-shapes-") as folder:
        model = arguments.model or shapes.ensure("small", "Q8_0", Path(folder))
        groups = {
            name: partial(rows, model, arguments.seconds, beside=name == "beside", threads=arguments.threads)
            for name in ("beside", "in-place")
            if arguments.only in (None, name)
        }
        facts = {"machine": platform.machine(), "cores": os.cpu_count(), "model": model.name, "clients": CLIENTS}
        return 0 if run_rows(groups, facts) else 1


if __name__ == "__main__":
    sys.exit(main())
