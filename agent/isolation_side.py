"""Keeps the models from standing in each other's way and in everybody else's: their place on the processors, and work
that is turned away while memory does not suffice."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from agent.errors import EdgeAgentError, OverloadedError
from agent.hardware.cores import worker_cpus
from agent.hardware.cpu import Processor, read_cpuinfo, read_processor
from agent.hardware.sensors.faults import read_disk_bytes, read_major_faults
from agent.hardware.sensors.pressure import read_own_pressure, read_pressure
from agent.hardware.shedder import Shedder, Strain, Verdict
from agent.runtime.lifecycle import State
from agent.runtime.scheduling import Arrangement, arrange
from agent.runtime.snapshot import ModelSnapshot

PERIOD_S: Final = 2.0
AGAIN_S: Final = 60.0
"""After a mistake of ours nobody is turned away for so long."""
IDLE_S: Final = 5.0
"""A model that was used a moment ago will be used again; it is not unloaded to make room."""
WELL: Final = "Memory suffices."
_SPARE_BYTES: Final = 64 * 2**20
"""What a worker may read from the disk besides its model: libraries, and the model's tokenizer."""

_log = logging.getLogger("agent.isolation")


class Models(Protocol):
    """The part of `Runtime` that is needed here."""

    refusal: EdgeAgentError | None

    def models(self) -> Sequence[ModelSnapshot]: ...

    def threads(self, name: str) -> int:
        """The most threads that the model computes with."""
        ...

    async def unload(self, name: str) -> None: ...


class HasStatus(Protocol):
    def status(self) -> Mapping[str, Any]: ...


class Isolation:
    """`run` once, in a task."""

    def __init__(
        self,
        runtime: Models,
        *,
        root: Path = Path("/"),
        period_s: float = PERIOD_S,
        clock: Callable[[], float] = time.monotonic,
        affinity: Collection[int] | None = None,
    ) -> None:
        self._runtime, self._root, self._period_s, self._clock = runtime, root, period_s, clock
        if affinity is None and hasattr(os, "sched_getaffinity"):
            affinity = os.sched_getaffinity(0)
        self._affinity = affinity
        self._processor: Processor | None = None
        self._placed: dict[int, Arrangement] = {}
        self._names: dict[int, str] = {}
        self._faults: dict[int, int] = {}
        self._rereads: dict[int, float] = {}
        self._looked_s: float | None = None
        self._shedder = Shedder()
        self._verdict = Verdict()
        self._strain: Strain | None = None
        self._times = 0

    async def run(self) -> None:
        """Until cancelled; then nobody is turned away."""
        self._processor = await asyncio.to_thread(lambda: read_processor(self._root, read_cpuinfo(self._root), None))
        try:
            while True:
                try:
                    await self.look()
                except Exception:  # a mistake here is no reason to stop the daemon, nor to turn work away
                    _log.exception("watching the workers failed; again in %.0f s", AGAIN_S)
                    self._runtime.refusal = None
                    await asyncio.sleep(AGAIN_S)
                await asyncio.sleep(self._period_s)
        finally:
            self._runtime.refusal = None

    async def look(self) -> None:
        """Once: place new workers, measure, decide, and have it done."""
        models = [model for model in self._runtime.models() if model.pid is not None]
        self._place(models)
        self._strain = await asyncio.to_thread(self._measure, models)
        before, self._verdict = self._verdict, self._shedder.advance(self._strain)
        self._runtime.refusal = _refusal(self._verdict)
        if self._verdict.shed and not before.shed:
            self._times += 1
            _log.warning("new work is turned away: %s", self._verdict.reason)
        elif before.shed and not self._verdict.shed:
            _log.info("new work is taken again")
        if self._verdict.clear:
            await self._make_room(models)

    def _place(self, models: Sequence[ModelSnapshot]) -> None:
        """Workers that are new, also while they load."""
        pids = {model.pid for model in models if model.pid is not None}
        for mapping in (self._placed, self._names):
            for gone in mapping.keys() - pids:
                del mapping[gone]
        for model in models:
            if model.pid is not None and model.pid not in self._placed:
                self._names[model.pid] = model.name
                self._placed[model.pid] = arrange(model.pid, self._cpus(model.name))

    def _cpus(self, name: str) -> frozenset[int] | None:
        if self._processor is None:
            return None
        cpus = worker_cpus(self._processor, self._runtime.threads(name))
        if cpus is None or self._affinity is None:
            return cpus
        return cpus & frozenset(self._affinity) or None

    def _measure(self, models: Sequence[ModelSnapshot]) -> Strain:
        """Of workers that serve: one that loads reads its model from the disk, as it should."""
        now_s, root = self._clock(), self._root
        seconds = 0.0 if self._looked_s is None else now_s - self._looked_s
        serving = {model.pid: model for model in models if model.pid is not None and model.state == State.READY}
        faults = {pid: count for pid in serving if (count := read_major_faults(pid, root)) is not None}
        rereads = {pid: _reread_bytes(model, read_disk_bytes(pid, root)) for pid, model in serving.items()}
        fresh_faults, fresh_bytes = _grown(self._faults, faults), _grown(self._rereads, rereads)
        self._faults, self._rereads, self._looked_s = faults, rereads, now_s
        memory = [read_pressure("memory", root, over_s=10), read_own_pressure(root, over_s=10)]
        known = [one for one in memory if one is not None]
        return Strain(
            now_s=now_s,
            stall_percent=max((one.some_percent for one in known), default=None),
            standstill_percent=max((one.full_percent for one in known), default=None),
            faults_per_s=fresh_faults / seconds if seconds > 0 else 0.0,
            reread_bytes_per_s=fresh_bytes / seconds if seconds > 0 else 0.0,
        )

    async def _make_room(self, models: Sequence[ModelSnapshot]) -> None:
        """Unload what nobody uses, unless it is pinned or kept."""
        for model in models:
            unused = model.state == State.READY and not model.running and not model.waiting
            idle_s = model.idle_for_s or 0.0
            if unused and not model.pinned and model.keep_alive_s is not None and idle_s >= IDLE_S:
                _log.warning("%s: unloaded, since memory does not suffice", model.name)
                with contextlib.suppress(EdgeAgentError):
                    await self._runtime.unload(model.name)

    # For whoever wants to know

    @property
    def shedding(self) -> str | None:
        """Why new work is turned away, in a sentence; None while it is not."""
        return f"{_sentence(self._verdict.reason)}: new work is turned away." if self._verdict.shed else None

    @property
    def times(self) -> int:
        """How often it began to turn work away, since the start."""
        return self._times

    def status(self) -> Mapping[str, Any]:
        """For /status."""
        strain = self._strain
        return {
            "shedding": self._verdict.shed,
            "reason": self.shedding or WELL,
            "times": self._times,
            "memory_stall_percent": strain.stall_percent if strain else None,
            "memory_standstill_percent": strain.standstill_percent if strain else None,
            "major_faults_per_s": round(strain.faults_per_s, 1) if strain else None,
            "reread_mb_per_s": round(strain.reread_bytes_per_s / 1e6, 1) if strain else None,
            "workers": {
                self._names[pid]: {"cpus": sorted(one.cpus) if one.cpus is not None else None}
                for pid, one in self._placed.items()
            },
        }

    def beside(self, governor: HasStatus) -> HasStatus:
        """For telemetry: what the governor says, or why work is turned away."""
        return _Both(governor, self)


class _Both:
    def __init__(self, governor: HasStatus, isolation: Isolation) -> None:
        self._governor, self._isolation = governor, isolation

    def status(self) -> Mapping[str, Any]:
        said, why = self._governor.status(), self._isolation.shedding
        return {**said, "shedding": why is not None, "reason": why or said.get("reason")}


def _reread_bytes(model: ModelSnapshot, read_bytes: int | None) -> float:
    """What the worker read from the disk beyond what its model takes once, a quarter more allowed."""
    return max(0.0, (read_bytes or 0) - 1.25 * model.charged_bytes - _SPARE_BYTES)


def _grown(before: Mapping[int, float], now: Mapping[int, float]) -> float:
    """By how much all together, of those that were there before."""
    return sum(max(0.0, value - before[pid]) for pid, value in now.items() if pid in before)


def _refusal(verdict: Verdict) -> OverloadedError | None:
    if not verdict.shed:
        return None
    return OverloadedError(
        f"This device has too little memory for what it does at the moment: {verdict.reason}.",
        retry_after_s=verdict.retry_after_s,
        hint="Wait as long as Retry-After says, then send the request again; a smaller model helps for good.",
    )


def _sentence(clause: str) -> str:
    return clause[:1].upper() + clause[1:]
