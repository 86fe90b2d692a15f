"""Pauses between runs, as a table, and in an engine."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

from agent.engines.onnx.embedding_engine import EmbeddingEngine, Job
from agent.engines.onnx.rest import Rest
from agent.runtime.wire.control import Cancel, SetPace
from agent.runtime.wire.embedding import Embedded
from agent.runtime.wire.generation import Finished
from agent.runtime.wire.messages import FromWorker

WAIT_S = 30
RUN_S = 0.02


def test_a_rest_is_as_long_as_the_run_times_the_ratio() -> None:
    rest = Rest()
    rest.ran(0.0, 2.0)
    assert rest.left_s(2.0) == 0
    rest.obey(SetPace(0.5, 1))
    rest.ran(2.0, 4.0)
    assert [rest.left_s(at) for at in (4.0, 4.5, 5.0, 9.0)] == [1.0, 0.5, 0.0, 0.0]
    rest.ran(4.5, 4.6)  # something short, in between, ends no rest
    assert rest.left_s(4.6) == pytest.approx(0.4)
    rest.obey(SetPace(0.5, 1))
    assert rest.left_s(4.6) == 0


class Served:
    """An engine whose graph takes `RUN_S`, in a thread, as in a worker."""

    def __init__(self) -> None:
        self.sent: queue.Queue[FromWorker] = queue.Queue()
        self.runs: list[tuple[float, int]] = []
        self.engine = EmbeddingEngine(self._run, dim=2, batch_tokens=64, threads=1, emit=self._emit)
        threading.Thread(target=self.engine.run, daemon=True).start()

    def _run(self, inputs: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        self.runs.append((time.monotonic(), len(inputs)))
        time.sleep(RUN_S)
        return np.ones((len(inputs), 2), np.float32)

    def _emit(self, messages: list[FromWorker]) -> None:
        for message in messages:
            self.sent.put(message)

    def submit(self, id: int, inputs: int, tokens: int) -> None:
        self.engine.submit(Job(id, [[1] * tokens for _ in range(inputs)], (), True))


def test_an_engine_rests_between_batches_and_makes_them_smaller() -> None:
    served = Served()
    served.engine.set_pace(SetPace(2.0, 16))
    served.submit(1, inputs=4, tokens=16)
    assert isinstance(served.sent.get(timeout=WAIT_S), Embedded)
    assert [count for _, count in served.runs] == [1, 1, 1, 1]
    begun = [at for at, _ in served.runs]
    assert all(later - earlier >= 3 * RUN_S for earlier, later in pairwise(begun))


def test_who_is_cancelled_during_a_rest_goes_at_once_and_faster_again_means_now() -> None:
    served = Served()
    served.engine.set_pace(SetPace(1e6, 16))
    served.submit(1, inputs=2, tokens=16)
    served.submit(2, inputs=1, tokens=16)
    while not served.runs or served.engine.stats.step_started_at is not None:
        time.sleep(0.002)
    assert served.engine.stats.step_started_at is None  # a rest is no step that hangs
    served.engine.cancel(Cancel(1))
    assert served.sent.get(timeout=WAIT_S) == Finished(id=1, reason="cancelled")
    assert served.sent.empty()
    served.engine.set_pace(SetPace(0.0, 64))
    answer = served.sent.get(timeout=WAIT_S)
    assert isinstance(answer, Embedded)
    assert answer.id == 2
