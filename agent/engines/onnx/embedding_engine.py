"""The loop of an embedding worker: inputs of all requests, batched by length, one run of the graph at a time."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agent.engines.onnx.batches import BatchQueue
from agent.engines.onnx.rest import Rest
from agent.engines.service import Stats, failure
from agent.errors import EdgeAgentError
from agent.runtime.wire.control import Cancel, SetPace
from agent.runtime.wire.embedding import Embedded
from agent.runtime.wire.generation import Finished
from agent.runtime.wire.messages import FromWorker

FloatArray = npt.NDArray[np.float32]
Run = Callable[[Sequence[Sequence[int]]], FloatArray]
"""Token ids of several inputs to their vectors, float32 [inputs, dim]. Raises `EngineError`."""


@dataclass(frozen=True)
class Job:
    """One request, tokenized. `truncated` are the positions of inputs that were cut."""

    id: int
    inputs: list[list[int]]
    truncated: tuple[int, ...]
    normalize: bool


@dataclass
class _Open:
    job: Job
    vectors: FloatArray
    missing: int


class EmbeddingEngine:
    """`run` owns the session; `submit`, `cancel` and `set_pace` may be called from any thread."""

    def __init__(
        self, run: Run, *, dim: int, batch_tokens: int, threads: int, emit: Callable[[list[FromWorker]], None]
    ) -> None:
        self.stats = Stats(threads=threads)
        self._run = run
        self._dim = dim
        self._emit = emit
        self._inbox: queue.SimpleQueue[Job | Cancel | SetPace] = queue.SimpleQueue()
        self._waiting = BatchQueue(batch_tokens)
        self._rest = Rest()
        self._open: dict[int, _Open] = {}

    def submit(self, job: Job) -> None:
        self._inbox.put(job)

    def cancel(self, order: Cancel) -> None:
        self._inbox.put(order)

    def set_pace(self, order: SetPace) -> None:
        self._inbox.put(order)

    def run(self) -> None:
        """Work until the process ends."""
        while True:
            self._take()
            self._step()

    def _take(self) -> None:
        """Everything that has arrived; waits for the first where there is nothing to do, and while it has to rest."""
        waits = not self._waiting
        while True:
            pause_s = self._rest.left_s(time.monotonic()) if self._waiting else 0.0
            try:
                item = self._inbox.get(timeout=pause_s) if pause_s > 0 else self._inbox.get(block=waits)
            except queue.Empty:
                return
            waits = False
            if isinstance(item, SetPace):
                self._rest.obey(item)
                self._waiting.batch_tokens = item.batch_tokens
            elif isinstance(item, Job):
                count = len(item.inputs)
                self._open[item.id] = _Open(item, np.empty((count, self._dim), np.float32), count)
                self._waiting.add(item.id, [len(tokens) for tokens in item.inputs])
            elif self._open.pop(item.id, None) is not None:
                self._waiting.drop(item.id)
                self._emit([Finished(id=item.id, reason="cancelled")])

    def _step(self) -> None:
        batch = self._waiting.next_batch()
        if not batch:
            return
        stats = self.stats
        stats.active, stats.waiting = len(self._open), len(self._waiting)
        stats.batch_tokens = sum(item.tokens for item in batch)
        began_s = stats.step_started_at = time.monotonic()
        try:
            vectors = self._run([self._open[item.owner].job.inputs[item.index] for item in batch])
        except EdgeAgentError as error:
            owners = {item.owner for item in batch}
            for owner in owners:
                self._waiting.drop(owner)
                del self._open[owner]
            self._emit([failure(owner, error) for owner in sorted(owners)])
            return
        finally:
            stats.step_started_at = None
            self._rest.ran(began_s, time.monotonic())
        done: list[FromWorker] = []
        for item, vector in zip(batch, vectors, strict=True):
            opened = self._open[item.owner]
            opened.vectors[item.index] = vector
            opened.missing -= 1
            if not opened.missing:
                del self._open[item.owner]
                done.append(_answer(opened))
        stats.active = len(self._open)
        if done:
            self._emit(done)


def _answer(opened: _Open) -> Embedded:
    vectors = opened.vectors
    if opened.job.normalize:
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors = (vectors / np.where(lengths == 0, 1, lengths)).astype(np.float32)
    return Embedded(
        id=opened.job.id,
        dim=vectors.shape[1],
        vectors=vectors.astype("<f4").tobytes(),
        prompt_tokens=sum(len(tokens) for tokens in opened.job.inputs),
        truncated=opened.job.truncated,
    )
