"""The runtime: requests in, events out.

runtime = Runtime(Limits(), memory=lambda held_bytes: ...)
runtime.set_models([ModelSpec(...)])
async with asyncio.TaskGroup() as group:
    group.create_task(runtime.run())
    async with runtime.submit("qwen", Generate(prompt="Hello"), client="me") as stream:
        async for events in stream: ...
    await runtime.stop(grace_s=10)
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from agent.errors import (
    EdgeAgentError,
    ModelNotFoundError,
    RequestError,
)
from agent.runtime.admission import Admission
from agent.runtime.budget import MemoryBudget
from agent.runtime.candidate import Candidate
from agent.runtime.cell import Cells
from agent.runtime.faults import another, stopping
from agent.runtime.model import Model
from agent.runtime.queue import AdmissionQueue, Priority
from agent.runtime.roster import Roster
from agent.runtime.shared import Shared
from agent.runtime.snapshot import Counters, Health, ModelSnapshot, QueueSnapshot, RuntimeSnapshot
from agent.runtime.spec import DOES, Limits, ModelSpec, Task
from agent.runtime.stream import Energy, Stream
from agent.runtime.throttle import FULL_SPEED, Throttle
from agent.runtime.wire.embedding import Embed
from agent.runtime.wire.generation import Generate
from agent.runtime.wire.messages import Request
from agent.runtime.wire.options import LlamaOptions
from agent.runtime.wire.transcription import Transcribe
from agent.runtime.worker import KILL_WAIT_S

__all__ = ["Limits", "ModelSpec", "Priority", "Runtime", "RuntimeSnapshot", "Stream"]

_log = logging.getLogger(__name__)

DRAIN_LOOK_S = 0.02
"""How often `stop` looks whether the last request has ended."""


def _stopping() -> EdgeAgentError:
    return stopping(hint="Send the request again once it is back.")


_TASKS: dict[type[Request], Task] = {Generate: "generate", Embed: "embed", Transcribe: "transcribe"}


class Runtime:
    """All models of this device. `set_models` may be called at any time; the other methods need a running loop.

    `memory` takes the bytes that our workers hold of what the system does not count as available, and returns how many
    bytes all models together may take now; it is called before a load and for a snapshot. `environment` is the
    workers', this process's own by default. `cells` keeps workers apart, where the operating system can. `energy`
    measures what requests cost. `clock` gives seconds and never goes back.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        memory: Callable[[int], int],
        worker_command: Sequence[str] = (sys.executable, "-m", "agent.engines.worker"),
        environment: Mapping[str, str] | None = None,
        cells: Cells | None = None,
        energy: Energy | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._throttle = FULL_SPEED
        self.refusal: EdgeAgentError | None = None
        """While it is set, requests of normal and low priority are turned away with it."""
        self._clock = clock
        self._counters = Counters()
        self._queue: AdmissionQueue[Stream] = AdmissionQueue(limits.queue_capacity, aging_s=limits.aging_s)
        self._budget = MemoryBudget(limits=limits, memory=memory, clock=clock, counters=self._counters)
        self._shared = Shared(
            queue=self._queue,
            budget=self._budget,
            command=tuple(worker_command),
            environment=environment,
            cells=cells,
            clock=clock,
        )
        self._roster = Roster(self._new_model, limits=limits, counters=self._counters)
        self._admission = Admission(self._shared, self._roster, limits=limits, counters=self._counters, energy=energy)
        self._serials = itertools.count(1)
        self._stop = asyncio.Event()
        self._finished = asyncio.Event()

    async def run(self) -> None:
        """The service; returns after `stop`. When cancelled, it kills the workers and fails what is left."""
        try:
            async with asyncio.TaskGroup() as group:
                self._roster.start(group)
                await self._stop.wait()
        finally:
            self._roster.stopping = True
            self._roster.group = None
            self._admission.fail(_stopping)
            self._admission.close()
            self._finished.set()

    async def stop(self, grace_s: float) -> None:
        """Refuse what is new and what waits, give what runs `grace_s` to finish, then fail it; end all workers.

        Takes `grace_s` and the limits' shutdown times at most, whatever the workers do. Idempotent.
        """
        self._roster.stopping = True
        self._admission.fail(_stopping)
        deadline = self._clock() + grace_s
        while any(model.running for model in self._roster.alive) and self._clock() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(min(DRAIN_LOOK_S, max(0.0, deadline - self._clock())))
        for model in list(self._roster.alive):
            model.abandon(_stopping)
            model.retire(_stopping())
        self._stop.set()
        if self._roster.group is not None:
            limits = self._limits
            bound_s = limits.shutdown_grace_s + limits.terminate_grace_s + 2 * KILL_WAIT_S
            try:
                await asyncio.wait_for(self._finished.wait(), bound_s)
            except TimeoutError:
                _log.error("the runtime did not stop within %.0f s", bound_s)

    def set_models(self, specs: Sequence[ModelSpec]) -> None:
        """Serve exactly these from now on.

        Where a worker serves an earlier version of a changed model, it goes on until the new one is loaded: then new
        requests and those that wait go to that, and the old one finishes what it runs, and unloads. If both do not fit
        into memory, the old one finishes and unloads first, and requests wait. If the new one cannot be loaded, the old
        one serves on (`settled` tells). A change of aliases, pin or keep-alive alone needs no new worker. Requests that
        wait for a model that is gone get `ModelNotFoundError`. Raises `ConfigError` if two have the same name.
        """
        for name in self._roster.choose(specs):
            self._admission.fail(partial(self._not_found, name), name=name)

    async def settled(self, name: str) -> None:
        """Wait until the version that `set_models` chose serves, where it replaces one that does.

        Raises what kept it from that: the one before serves on.
        """
        await self._roster.settled(name)

    async def introduce(self, spec: ModelSpec, *, load_timeout_s: float | None = None) -> Candidate:
        """Load a version to try it, beside the one that serves, or in its place where both do not fit.

        Of a model with that name there is one candidate at a time: an earlier one is dismissed. Raises `ModelLoadError`
        and `ModelFailedError` (it crashed, or took too long) for what is its own doing; `MemoryBudgetError`,
        `UnavailableError`, `ShuttingDownError` for what is not. Cancelled or failed, it leaves all as it was.
        """
        timeout_s = load_timeout_s or self._limits.load_timeout_s
        succession = await self._roster.introduce(spec, load_timeout_s=timeout_s)
        return Candidate(
            succession,
            enter=lambda request: self._admission.enter(succession.new, request, client="trial", priority=Priority.LOW),
            give_up=lambda error: self._roster.dismiss(succession, error),
        )

    def health(self, name: str) -> Health:
        """How the version that serves has done since it began to. Raises `ModelNotFoundError`."""
        return self._find(name).health.copy()

    def worker_pid(self, name: str) -> int | None:
        """The worker of the version that is being made ready to serve, else of the one that serves; None without."""
        return self._roster.worker_pid(name)

    def patience_s(self, name: str) -> float | None:
        """In how many seconds the first request that waits for this model will have waited for too long."""
        return self._admission.patience_s(name)

    def submit(
        self,
        model: str,
        request: Request,
        *,
        client: str,
        priority: Priority = Priority.NORMAL,
        deadline_s: float | None = None,
    ) -> Stream:
        """Hand a request in; its events come from the stream. `deadline_s` bounds the wait for a worker, not the run.

        An empty `model` is the first one with the request's task. Raises `ModelNotFoundError`, `RequestError` (wrong
        task), `QueueFullError`, `ShuttingDownError`, `ModelFailedError`, `ModelLoadError` for a model that could
        not be loaded a moment ago, and `refusal`.
        """
        if self._roster.stopping:
            raise _stopping()
        chosen = self._choose(model, request)
        if self.refusal is not None and priority is not Priority.HIGH:
            chosen.counters.rejected += 1
            raise another(self.refusal)
        if deadline_s is None:
            deadline_s = self._limits.default_deadline_s
        return self._admission.enter(chosen, request, client=client, priority=priority, deadline_s=deadline_s)

    def throttle(self, throttle: Throttle) -> None:
        """Take no more of the board than this from now on.

        Without `admit`, requests of normal and low priority wait in the queue: the board recovers in seconds or
        minutes, clients need not try again, and deadlines and the queue's capacity bound the wait as ever.
        """
        released = self._queue.holding and throttle.admit
        self._throttle, self._queue.holding = throttle, not throttle.admit
        for model in list(self._roster.alive):
            model.pace.throttle(throttle)
            if released and self._queue.waiting(model.lane):
                model.expect()

    def work(self) -> tuple[int, int]:
        """Requests that run, and all tokens that were generated so far. May be called from any thread."""
        return sum(model.running for model in list(self._roster.alive)), self._counters.sampled_tokens

    def threads(self, name: str) -> int:
        """The most threads that the model computes with. Raises `ModelNotFoundError`."""
        options = self._find(name).spec.options
        return max(options.threads, options.threads_batch) if isinstance(options, LlamaOptions) else options.threads

    async def load(self, name: str) -> None:
        """Load a model now, also one that had failed; returns when it is ready.

        Raises `ModelNotFoundError`, `MemoryBudgetError`, `ModelLoadError`, `ModelFailedError`, `UnavailableError`.
        """
        if self._roster.stopping:
            raise _stopping()
        await self._find(name).load()

    async def unload(self, name: str) -> None:
        """Unload a model, pinned or not, once what it runs has finished. A request that waits loads it again."""
        model = self._find(name)
        model.request_unload("on request")
        await model.unloaded()

    @contextlib.contextmanager
    def keep(self, name: str) -> Iterator[None]:
        """While entered, the model `name`, once it is loaded, stays: it is not unloaded for being idle, and is loaded
        again after a crash or a change of its version. Another model may still take its memory."""
        self._roster.keep(name, 1)
        try:
            yield
        finally:
            self._roster.keep(name, -1)

    def snapshot(self) -> RuntimeSnapshot:
        waiting = self._queue.waiting_by_priority()
        return RuntimeSnapshot(
            stopping=self._roster.stopping,
            running=sum(model.running for model in self._roster.alive),
            queue=QueueSnapshot(
                waiting=len(self._queue),
                capacity=self._queue.capacity,
                high=waiting[Priority.HIGH],
                normal=waiting[Priority.NORMAL],
                low=waiting[Priority.LOW],
            ),
            ledger=self._budget.snapshot(),
            counters=self._counters.copy(),
            models=self.models(),
        )

    def models(self) -> tuple[ModelSnapshot, ...]:
        """The models of `snapshot`, without the ledger, which reads the system's memory."""
        return self._roster.snapshots()

    def hung(self) -> str | None:
        """A worker that answers no more and that should long have been killed and replaced, as a phrase; None if all is
        well. Then the supervision itself has failed, and a restart of the whole daemon is what is left."""
        limits = self._limits
        bound_s = limits.heartbeat_s + limits.heartbeat_timeout_s + 2 * KILL_WAIT_S
        for model in self._roster.alive:
            if (silent_s := model.silent_s()) > bound_s:
                return f"the worker of model {model.name} has not answered for {silent_s:.0f} s"
        return None

    def _choose(self, name: str, request: Request) -> Model:
        task = _TASKS[type(request)]
        if not name:
            for model in self._roster.models.values():
                if model.spec.task == task:
                    return model
            raise self._not_found(name)
        model = self._find(name)
        if model.spec.task != task:
            raise RequestError(
                f"Model {model.name} {DOES[model.spec.task]}; it cannot be used to {task}.",
                hint=f"Choose a model whose task is {task}.",
                param="model",
            )
        return model

    def _find(self, name: str) -> Model:
        model = self._roster.find(name)
        if model is None:
            raise self._not_found(name)
        return model

    def _not_found(self, name: str) -> ModelNotFoundError:
        known = ", ".join(self._roster.models) or "none; import one first"
        what = f"There is no model {name!r}." if name else "There is no model for this task."
        return ModelNotFoundError(what, hint=f"Models here: {known}.", param="model")

    def _new_model(
        self,
        spec: ModelSpec,
        *,
        limits: Limits,
        counters: Counters,
        candidate: bool = False,
        rival: Model | None = None,
    ) -> Model:
        model = Model(
            spec,
            key=f"{spec.name}#{next(self._serials)}",
            shared=self._shared,
            limits=limits,
            counters=counters,
            candidate=candidate,
            rival=rival,
        )
        model.pace.throttle(self._throttle)
        return model
