"""Isolation in the daemon: workers are placed, and thrashing turns work away with a reason until it has passed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.errors import EdgeAgentError, OverloadedError
from agent.fleet.telemetry.governor import GovernorSource
from agent.isolation_side import WELL, Isolation
from agent.runtime.snapshot import ModelSnapshot


def snapshot(name: str, pid: int | None, **fields: object) -> ModelSnapshot:
    values: dict[str, object] = {
        "name": name, "version": "1", "task": "generate", "created": 0, "aliases": (), "pinned": False,
        "keep_alive_s": 300.0, "state": "ready", "reason": "", "slots": 1, "running": 0, "slots_used": 0, "waiting": 0,
        "crashes_in_a_row": 0, "crashes": 0, "pid": pid, "predicted": None, "charged_bytes": 0, "loaded": None,
        "stats": None, "loaded_for_s": 1.0, "idle_for_s": 60.0, "retry_in_s": None,
    }  # fmt: skip
    return ModelSnapshot(**{**values, **fields})  # type: ignore[arg-type]


@dataclass
class Runtime:
    """Keeps what it is told."""

    served: list[ModelSnapshot]
    refusal: EdgeAgentError | None = None
    unloaded: list[str] = field(default_factory=list)

    def models(self) -> list[ModelSnapshot]:
        return self.served

    def threads(self, name: str) -> int:
        return 1

    async def unload(self, name: str) -> None:
        self.unloaded.append(name)


class Governor:
    def status(self) -> dict[str, object]:
        return {"mode": "balanced", "reason": "Nothing holds it back: full speed."}


@pytest.fixture
def worker() -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process.pid
        process.kill()


def machine(root: Path, *, stall: float, standstill: float) -> None:
    folder = root / "proc/pressure"
    folder.mkdir(parents=True, exist_ok=True)
    line = "avg10={:.2f} avg60=0.00 avg300=0.00 total=1"
    (folder / "memory").write_text(f"some {line.format(stall)}\nfull {line.format(standstill)}\n")


def faults(root: Path, pid: int, count: int) -> None:
    folder = root / "proc" / str(pid)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "stat").write_text(f"{pid} (python) S 1 1 1 0 -1 0 0 0 {count} 0 0 0\n")


async def test_thrashing_turns_work_away_until_it_has_passed(tmp_path: Path, worker: int) -> None:
    now_s = [0.0]
    runtime = Runtime([snapshot("busy", worker, running=1, idle_for_s=None)])
    isolation = Isolation(runtime, root=tmp_path, clock=lambda: now_s[0])

    async def look(stall: float, standstill: float, count: int) -> None:
        machine(tmp_path, stall=stall, standstill=standstill)
        faults(tmp_path, worker, count)
        await isolation.look()
        now_s[0] += 2.0

    await look(0, 0, 100)
    assert isolation.status()["reason"] == WELL
    for count in (300, 500, 700):
        await look(55, 12, count)
    status = isolation.status()
    assert (status["shedding"], status["major_faults_per_s"], status["times"]) == (True, 100.0, 1)
    assert status["reason"] == "Models waited for memory 55% of the last 10 s: new work is turned away."
    refusal = runtime.refusal
    assert isinstance(refusal, OverloadedError)
    assert (refusal.status, refusal.retry_after_s) == (503, 10.0)
    assert "models waited for memory 55%" in str(refusal)
    sent = await GovernorSource(isolation.beside(Governor())).read()
    assert (sent["shedding"], sent["reason"]) == (True, status["reason"])
    for _ in range(7):
        await look(3, 0, 700)
    assert isolation.status()["shedding"] is False
    assert runtime.refusal is None
    sent = await GovernorSource(isolation.beside(Governor())).read()
    assert (sent["shedding"], sent["reason"]) == (False, "Nothing holds it back: full speed.")


async def test_a_worker_that_reads_its_weights_again_and_again(tmp_path: Path, worker: int) -> None:
    now_s, read = [0.0], 0
    charged = 400 * 2**20
    runtime = Runtime([snapshot("qwen", worker, running=1, charged_bytes=charged)])
    isolation = Isolation(runtime, root=tmp_path, clock=lambda: now_s[0])
    shed = []
    for number in range(10):  # 100 MB/s; what it holds and a quarter more is its own
        read = number * 200_000_000
        folder = tmp_path / "proc" / str(worker)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "io").write_text(f"rchar: 1\nread_bytes: {read}\n")
        await isolation.look()
        shed.append(isolation.status()["shedding"])
        now_s[0] += 2.0
    first = shed.index(True)
    assert charged < first * 200_000_000 < 2.5 * charged
    assert isolation.status()["reason"] == (
        "Models are read from the disk again and again, 100 MB/s: new work is turned away."
    )


async def test_when_it_lasts_models_that_nobody_uses_are_unloaded(tmp_path: Path) -> None:
    now_s = [0.0]
    here = os.getpid()
    runtime = Runtime(
        [
            snapshot("idle", here),
            snapshot("running", here, running=1),
            snapshot("wanted", here, waiting=1),
            snapshot("pinned", here, pinned=True),
            snapshot("kept", here, keep_alive_s=None),
            snapshot("fresh", here, idle_for_s=1.0),
            snapshot("loading", here, state="loading"),
        ]
    )
    isolation = Isolation(runtime, root=tmp_path, clock=lambda: now_s[0])
    isolation._place = lambda models: None  # type: ignore[method-assign]  # not this process
    machine(tmp_path, stall=90, standstill=50)
    for _ in range(5):
        await isolation.look()
        now_s[0] += 2.0
    assert set(runtime.unloaded) == {"idle"}


async def test_a_worker_that_loads_may_read_its_model(tmp_path: Path, worker: int) -> None:
    now_s = [0.0]
    runtime = Runtime([snapshot("new", worker, state="loading")])
    isolation = Isolation(runtime, root=tmp_path, clock=lambda: now_s[0])
    for count in (0, 5000, 10000, 15000):
        faults(tmp_path, worker, count)
        await isolation.look()
        now_s[0] += 2.0
    assert (isolation.status()["major_faults_per_s"], runtime.refusal) == (0.0, None)


@pytest.mark.skipif(sys.platform != "linux", reason="the calls are Linux's")
async def test_workers_run_on_the_fast_cores_and_a_cancelled_watch_refuses_nobody(tmp_path: Path, worker: int) -> None:
    fast, *others = sorted(os.sched_getaffinity(0))
    if not others:
        pytest.skip("needs two CPUs")
    kinds = {fast: 1024, others[0]: 300}
    for cpu, capacity in kinds.items():
        folder = tmp_path / f"sys/devices/system/cpu/cpu{cpu}"
        folder.mkdir(parents=True)
        (folder / "cpu_capacity").write_text(f"{capacity}\n")
    (tmp_path / "sys/devices/system/cpu/online").write_text(",".join(map(str, kinds)) + "\n")
    runtime = Runtime([snapshot("qwen", worker)], refusal=OverloadedError("Full.", retry_after_s=1.0))
    isolation = Isolation(runtime, root=tmp_path, period_s=0.005)
    task = asyncio.create_task(isolation.run())
    async with asyncio.timeout(10):
        while not isolation.status()["workers"]:  # noqa: ASYNC110
            await asyncio.sleep(0.002)
    assert isolation.status()["workers"] == {"qwen": {"cpus": [fast]}}
    assert os.sched_getaffinity(worker) == {fast}
    runtime.served = []
    async with asyncio.timeout(10):
        while isolation.status()["workers"]:  # noqa: ASYNC110
            await asyncio.sleep(0.002)
    runtime.refusal = OverloadedError("Full.", retry_after_s=1.0)
    task.cancel()
    await asyncio.wait([task])
    assert runtime.refusal is None
