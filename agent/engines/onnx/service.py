"""What the services of ONNX models have in common: where they compute, and what they say of their engine."""

from __future__ import annotations

import time
from typing import Generic, Protocol, TypeVar

import onnxruntime

from agent.engines.onnx.session import CPU, SessionOptions
from agent.engines.process import resident_bytes
from agent.engines.service import Stats
from agent.runtime.wire.control import Cancel, Pong, SetPace, SetThreads
from agent.runtime.wire.loading import Loaded
from agent.runtime.wire.memory import Memory
from agent.runtime.wire.options import OnnxOptions


class OnnxEngine(Protocol):
    """The loop of a worker. `run` is the engine's thread; the others may be called from any."""

    stats: Stats

    def run(self) -> None:
        """Work until the process ends."""

    def cancel(self, order: Cancel) -> None: ...

    def set_pace(self, order: SetPace) -> None: ...


E = TypeVar("E", bound=OnnxEngine)


class OnnxService(Generic[E]):
    """All of `agent.engines.service.Service` but `submit`."""

    def __init__(self, engine: E, loaded: Loaded) -> None:
        self.loaded = loaded
        self._engine = engine

    def run(self) -> None:
        self._engine.run()

    def cancel(self, order: Cancel) -> None:
        self._engine.cancel(order)

    def set_threads(self, order: SetThreads) -> None:
        """ONNX Runtime fixes its threads when a session is opened; `Throttle.pace_of` makes rests of fewer threads."""

    def set_pace(self, order: SetPace) -> None:
        self._engine.set_pace(order)

    def pong(self, seq: int) -> Pong:
        stats = self._engine.stats
        started = stats.step_started_at
        return Pong(
            seq=seq,
            step_age_s=0.0 if started is None else time.monotonic() - started,
            resident_bytes=resident_bytes(),
            prefix_cache_bytes=0,
            kv_used_tokens=0,
            active_sequences=stats.active,
            waiting_sequences=stats.waiting,
            batch_tokens=stats.batch_tokens,
            threads=stats.threads,
        )


def session_options(options: OnnxOptions) -> SessionOptions:
    """With those of the providers that this onnxruntime has, or the CPU."""
    there = onnxruntime.get_available_providers()
    return SessionOptions(
        threads=options.threads,
        spinning=options.spinning,
        arena=options.arena,
        providers=tuple(name for name in options.providers if name in there) or (CPU,),
    )


def place_of(options: SessionOptions) -> str:
    """For people: "ONNX on CPU"."""
    return f"ONNX on {options.providers[0].removesuffix('ExecutionProvider')}"


def measured(predicted: Memory) -> Memory:
    """What the process has taken, now that the model is loaded: what was not predicted of it is overhead."""
    resident = resident_bytes()
    return Memory(
        weights_bytes=predicted.weights_bytes,
        kv_bytes=predicted.kv_bytes,
        compute_bytes=predicted.compute_bytes,
        overhead_bytes=max(0, resident - predicted.weights_bytes),
        resident_bytes=resident,
    )
