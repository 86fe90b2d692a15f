"""The loop of a Whisper worker: one request at a time, interrupted between two runs of a graph."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable

import msgspec
import numpy as np
import numpy.typing as npt

from agent.engines.onnx.rest import Rest
from agent.engines.onnx.whisper.model import WhisperModel
from agent.engines.onnx.whisper.transcriber import Transcriber, WindowPolicy
from agent.engines.onnx.whisper.turns import Turns
from agent.engines.service import Stats, failure
from agent.errors import EdgeAgentError
from agent.runtime.wire.control import Cancel, SetPace
from agent.runtime.wire.generation import Finished
from agent.runtime.wire.messages import FromWorker
from agent.runtime.wire.transcription import Started, Transcribe

Samples = npt.NDArray[np.float32]
Job = tuple[Transcribe, Samples, float]
"""A request, its audio, and when it came."""


class _CancelledError(Exception):
    """The request that runs is no longer wanted."""


class WhisperEngine:
    """`run` owns the model; `submit`, `cancel` and `set_pace` may be called from any thread.

    A run of a graph cannot be stopped; a cancelled request ends before its next one: within a decoder step, or, while
    the audio is encoded, after that. Its confirmation is the last that is heard of it.
    """

    def __init__(
        self, model: WhisperModel, policy: WindowPolicy, *, threads: int, emit: Callable[[list[FromWorker]], None]
    ) -> None:
        self.stats = Stats(threads=threads)
        self._transcriber = Transcriber(model, policy, self._before_run)
        self._emit = emit
        self._inbox: queue.SimpleQueue[Job | Cancel | SetPace] = queue.SimpleQueue()
        self._waiting: Turns[Job] = Turns()
        self._running: int | None = None
        self._free_s = 0.0
        self._rest = Rest()

    def submit(self, request: Transcribe, audio: Samples, came_s: float) -> None:
        """`audio` is that of the request, checked. The worker has been at it since `came_s` (`time.monotonic`)."""
        self._inbox.put((request, audio, came_s))

    def cancel(self, order: Cancel) -> None:
        self._inbox.put(order)

    def set_pace(self, order: SetPace) -> None:
        """Rests come between any two runs of a graph, also within a request."""
        self._inbox.put(order)

    def run(self) -> None:
        """Work until the process ends."""
        while True:
            self._take(0.0 if self._waiting else None)
            job = self._waiting.next()
            if job is not None:
                self._work(*job)

    def _work(self, request: Transcribe, audio: Samples, came_s: float) -> None:
        stats = self.stats
        self._emit([Started(id=request.id, at_s=max(came_s, self._free_s))])
        self._running = request.id
        stats.active, stats.waiting = 1, len(self._waiting)
        stats.step_started_at = time.monotonic()
        try:
            transcribed = self._transcriber.transcribe(request, audio)
            self._take(0.0)  # a cancellation that came during the last step counts
            if self._running is None:
                raise _CancelledError
            done: FromWorker = msgspec.structs.replace(transcribed, ended_s=time.monotonic())
        except _CancelledError:
            return
        except EdgeAgentError as error:
            done = failure(request.id, error)
        finally:
            self._running = None
            self._ran()
            self._free_s = time.monotonic()
            stats.active = 0
        self._emit([done])

    def _before_run(self) -> None:
        """A step begins, after a rest where one is due: the age of a step is what tells a hang from a long request."""
        self._ran()
        self._take(0.0)
        while self._running is not None and (left_s := self._rest.left_s(time.monotonic())) > 0:
            self._take(left_s)
        if self._running is None:
            raise _CancelledError
        self.stats.step_started_at = time.monotonic()

    def _ran(self) -> None:
        """What ran until now is over."""
        if self.stats.step_started_at is not None:
            self._rest.ran(self.stats.step_started_at, time.monotonic())
        self.stats.step_started_at = None

    def _take(self, wait_s: float | None) -> None:
        """Everything that has arrived; waits for the first for so long, None for ever."""
        while True:
            try:
                item = self._inbox.get(timeout=wait_s)
            except queue.Empty:
                break
            wait_s = 0.0
            if isinstance(item, SetPace):
                self._rest.obey(item)
            elif isinstance(item, Cancel):
                self._drop(item.id)
            else:
                request = item[0]
                self._waiting.add(request.id, item, live=len(request.temperatures) == 1)
        self.stats.waiting = len(self._waiting)

    def _drop(self, id: int) -> None:
        """Confirms what is dropped: until then the runtime counts it as running."""
        if self._running == id:
            self._running = None
        elif self._waiting.drop(id) is None:
            return
        self._emit([Finished(id=id, reason="cancelled")])
