"""The loop of a Whisper worker: one request at a time, interrupted between two runs of a graph."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from agent.engines.onnx.whisper.model import WhisperModel
from agent.engines.onnx.whisper.transcriber import Transcriber, WindowPolicy
from agent.engines.onnx.whisper.turns import Turns
from agent.engines.service import Stats, failure
from agent.errors import EdgeAgentError
from agent.runtime.wire import Cancel, Finished, FromWorker, Transcribe

Samples = npt.NDArray[np.float32]
Job = tuple[Transcribe, Samples]


class _CancelledError(Exception):
    """The request that runs is no longer wanted."""


class WhisperEngine:
    """`run` owns the model; `submit` and `cancel` may be called from any thread.

    A run of a graph cannot be stopped; a cancelled request ends before its next one: within a decoder step, or, while
    the audio is encoded, after that. Its confirmation is the last that is heard of it.
    """

    def __init__(
        self, model: WhisperModel, policy: WindowPolicy, *, threads: int, emit: Callable[[list[FromWorker]], None]
    ) -> None:
        self.stats = Stats(threads=threads)
        self._transcriber = Transcriber(model, policy, self._before_run)
        self._emit = emit
        self._inbox: queue.SimpleQueue[Job | Cancel] = queue.SimpleQueue()
        self._waiting: Turns[Job] = Turns()
        self._running: int | None = None

    def submit(self, request: Transcribe, audio: Samples) -> None:
        """`audio` is that of the request, checked."""
        self._inbox.put((request, audio))

    def cancel(self, order: Cancel) -> None:
        self._inbox.put(order)

    def run(self) -> None:
        """Work until the process ends."""
        while True:
            self._take(block=not self._waiting)
            job = self._waiting.next()
            if job is not None:
                self._work(*job)

    def _work(self, request: Transcribe, audio: Samples) -> None:
        stats = self.stats
        self._running = request.id
        stats.active, stats.waiting = 1, len(self._waiting)
        stats.step_started_at = time.monotonic()
        try:
            done: FromWorker = self._transcriber.transcribe(request, audio)
            self._take(block=False)  # a cancellation that came during the last step counts
            if self._running is None:
                raise _CancelledError
        except _CancelledError:
            return
        except EdgeAgentError as error:
            done = failure(request.id, error)
        finally:
            self._running = None
            stats.active, stats.step_started_at = 0, None
        self._emit([done])

    def _before_run(self) -> None:
        """A step begins: the age of a step is what tells a hang from a long request."""
        self._take(block=False)
        if self._running is None:
            raise _CancelledError
        self.stats.step_started_at = time.monotonic()

    def _take(self, *, block: bool) -> None:
        """Everything that has arrived; waits for the first only where there is nothing to do."""
        while True:
            try:
                item = self._inbox.get(block=block)
            except queue.Empty:
                break
            block = False
            if isinstance(item, Cancel):
                self._drop(item.id)
            else:
                request, _ = item
                self._waiting.add(request.id, item, live=len(request.temperatures) == 1)
        self.stats.waiting = len(self._waiting)

    def _drop(self, id: int) -> None:
        """Confirms what is dropped: until then the runtime counts it as running."""
        if self._running == id:
            self._running = None
        elif self._waiting.drop(id) is None:
            return
        self._emit([Finished(id=id, reason="cancelled")])
