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
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from agent.errors import (
    ConfigError,
    EdgeAgentError,
    ModelNotFoundError,
    QueueFullError,
    RequestError,
    ShuttingDownError,
    UnavailableError,
)
from agent.runtime.budget import MemoryBudget
from agent.runtime.cell import Cells
from agent.runtime.model import Model
from agent.runtime.queue import AdmissionQueue, Entry, Priority
from agent.runtime.snapshot import Counters, ModelSnapshot, QueueSnapshot, RuntimeSnapshot
from agent.runtime.spec import DOES, Limits, ModelSpec, Task
from agent.runtime.stream import Stream
from agent.runtime.wire import Embed, Generate, Request, Transcribe
from agent.runtime.worker import KILL_WAIT_S

__all__ = ["Limits", "ModelSpec", "Priority", "Runtime", "RuntimeSnapshot", "Stream"]

_log = logging.getLogger(__name__)

DRAIN_LOOK_S = 0.02
"""How often `stop` looks whether the last request has ended."""


def _stopping() -> EdgeAgentError:
    return ShuttingDownError("The daemon is shutting down.", hint="Send the request again once it is back.")


_TASKS: dict[type[Request], Task] = {Generate: "generate", Embed: "embed", Transcribe: "transcribe"}


class Runtime:
    """All models of this device. `set_models` may be called at any time; the other methods need a running loop.

    `memory` takes the bytes that our workers hold of what the system does not count as available, and returns how many
    bytes all models together may take now; it is called before a load and for a snapshot. `environment` is the
    workers', this process's own by default. `cells` keeps workers apart, where the operating system can. `clock` gives
    seconds and never goes back.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        memory: Callable[[int], int],
        worker_command: Sequence[str] = (sys.executable, "-m", "agent.engines.worker"),
        environment: Mapping[str, str] | None = None,
        cells: Cells | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._command = tuple(worker_command)
        self._environment = environment
        self._cells = cells
        self._clock = clock
        self._counters = Counters()
        self._queue: AdmissionQueue[Stream] = AdmissionQueue(limits.queue_capacity, aging_s=limits.aging_s)
        self._budget = MemoryBudget(limits=limits, memory=memory, clock=clock, counters=self._counters)
        self._models: dict[str, Model] = {}
        self._names: dict[str, Model] = {}
        self._alive: set[Model] = set()
        """Models with a task: those of `_models`, and replaced ones that still drain."""
        self._kept: Counter[str] = Counter()
        """How often `keep` is entered, by name."""
        self._ids = itertools.count(1)
        self._serials = itertools.count(1)
        self._group: asyncio.TaskGroup | None = None
        self._stopping = False
        self._stop = asyncio.Event()
        self._finished = asyncio.Event()
        self._expiry: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """The service; returns after `stop`. When cancelled, it kills the workers and fails what is left."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                for model in self._models.values():
                    self._launch(model)
                await self._stop.wait()
        finally:
            self._stopping = True
            self._group = None
            self._refuse_waiting()
            if self._expiry is not None:
                self._expiry.cancel()
            self._finished.set()

    async def stop(self, grace_s: float) -> None:
        """Refuse what is new and what waits, give what runs `grace_s` to finish, then fail it; end all workers.

        Takes `grace_s` and the limits' shutdown times at most, whatever the workers do. Idempotent.
        """
        self._stopping = True
        self._refuse_waiting()
        deadline = self._clock() + grace_s
        while any(model.running for model in self._alive) and self._clock() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(min(DRAIN_LOOK_S, max(0.0, deadline - self._clock())))
        for model in list(self._alive):
            model.abandon(_stopping)
            model.retire(_stopping())
        self._stop.set()
        if self._group is not None:
            limits = self._limits
            bound_s = limits.shutdown_grace_s + limits.terminate_grace_s + 2 * KILL_WAIT_S
            try:
                await asyncio.wait_for(self._finished.wait(), bound_s)
            except TimeoutError:
                _log.error("the runtime did not stop within %.0f s", bound_s)

    def set_models(self, specs: Sequence[ModelSpec]) -> None:
        """Serve exactly these from now on.

        New requests of a changed model go to a worker of the new specification; the old one finishes what it runs, and
        unloads. A change of aliases, pin or keep-alive alone needs no new worker. Requests that wait for a model that
        is gone get `ModelNotFoundError`. Raises `ConfigError` if two have the same name.
        """
        names = [spec.name for spec in specs]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigError(f"Two models have the same name: {', '.join(twice)}.")
        before, self._models = self._models, {}
        for spec in specs:
            old = before.get(spec.name)
            if old is not None and old.spec.same_worker(spec):
                old.update(spec)
                self._models[spec.name] = old
            else:
                self._models[spec.name] = new = self._new_model(spec)
                if self._kept[spec.name]:
                    new.keep(True, load=old is not None)
        self._names = {alias: model for model in reversed(self._models.values()) for alias in model.spec.aliases}
        self._names |= self._models
        for name, old in before.items():
            successor = self._models.get(name)
            if successor is old:
                continue
            what = "replaced" if successor else "removed"
            old.retire(UnavailableError(f"Model {name} was {what} while it was loading."))
            if successor is None:
                for entry in self._queue.clear(name):
                    self._counters.failed += 1
                    entry.item.fail(self._not_found(name))
        for model in self._models.values():
            if model not in self._alive:
                self._launch(model)

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
        task), `QueueFullError`, `ShuttingDownError`, `ModelFailedError`, and `ModelLoadError` for a model that could
        not be loaded a moment ago.
        """
        if self._stopping:
            raise _stopping()
        chosen = self._choose(model, request)
        chosen.check()
        now = self._clock()
        request = msgspec.structs.replace(request, id=next(self._ids))
        stream = Stream(
            request,
            model=chosen.name,
            client=client,
            submitted_at=now,
            holder=self,
            limit_events=self._limits.pending_events,
            limit_bytes=self._limits.pending_bytes,
        )
        if not chosen.offer(stream):
            if deadline_s is None:
                deadline_s = self._limits.default_deadline_s
            entry = Entry(
                id=stream.id,
                model=chosen.name,
                client=client,
                priority=priority,
                arrived=now,
                item=stream,
                cost=stream.cost,
                deadline=None if deadline_s is None else now + deadline_s,
            )
            try:
                self._queue.put(entry, parallel=chosen.slots)
            except QueueFullError:
                self._counters.rejected += 1
                raise
            chosen.expect()
            if deadline_s is not None:
                self._arm()
        self._counters.accepted += 1
        return stream

    async def load(self, name: str) -> None:
        """Load a model now, also one that had failed; returns when it is ready.

        Raises `ModelNotFoundError`, `MemoryBudgetError`, `ModelLoadError`, `ModelFailedError`, `UnavailableError`.
        """
        if self._stopping:
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
        self._change_kept(name, 1)
        try:
            yield
        finally:
            self._change_kept(name, -1)

    def _change_kept(self, name: str, by: int) -> None:
        self._kept[name] += by
        kept = self._kept[name] > 0
        if not kept:
            del self._kept[name]
        if (model := self._models.get(name)) is not None:
            model.keep(kept)

    def snapshot(self) -> RuntimeSnapshot:
        waiting = self._queue.waiting_by_priority()
        return RuntimeSnapshot(
            stopping=self._stopping,
            running=sum(model.running for model in self._alive),
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
        return tuple(model.snapshot() for model in self._models.values())

    def hung(self) -> str | None:
        """A worker that answers no more and that should long have been killed and replaced, as a phrase; None if all is
        well. Then the supervision itself has failed, and a restart of the whole daemon is what is left."""
        limits = self._limits
        bound_s = limits.heartbeat_s + limits.heartbeat_timeout_s + 2 * KILL_WAIT_S
        for model in self._alive:
            if (silent_s := model.silent_s()) > bound_s:
                return f"the worker of model {model.name} has not answered for {silent_s:.0f} s"
        return None

    def drop(self, stream: Stream) -> None:
        """`Holder`: the stream of a waiting request was closed."""
        if self._queue.remove(stream.id) is not None:
            self._counters.cancelled += 1

    def _choose(self, name: str, request: Request) -> Model:
        task = _TASKS[type(request)]
        if not name:
            for model in self._models.values():
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
        model = self._names.get(name)
        if model is None:
            raise self._not_found(name)
        return model

    def _not_found(self, name: str) -> ModelNotFoundError:
        known = ", ".join(self._models) or "none; import one first"
        what = f"There is no model {name!r}." if name else "There is no model for this task."
        return ModelNotFoundError(what, hint=f"Models here: {known}.", param="model")

    def _new_model(self, spec: ModelSpec) -> Model:
        return Model(
            spec,
            key=f"{spec.name}#{next(self._serials)}",
            queue=self._queue,
            budget=self._budget,
            limits=self._limits,
            counters=self._counters,
            clock=self._clock,
            command=self._command,
            environment=self._environment,
            cells=self._cells,
        )

    def _launch(self, model: Model) -> None:
        if self._group is not None and not self._stopping:
            self._alive.add(model)
            task = self._group.create_task(model.run(), name=f"model:{model.name}")
            task.add_done_callback(lambda _: self._alive.discard(model))

    def _refuse_waiting(self) -> None:
        for entry in self._queue.clear():
            self._counters.failed += 1
            entry.item.fail(_stopping())

    def _arm(self) -> None:
        """Set the timer for the next deadline in the queue."""
        if self._expiry is not None:
            self._expiry.cancel()
        deadline = self._queue.next_deadline()
        if deadline is None:
            self._expiry = None
        else:
            delay_s = max(0.0, deadline - self._clock())
            self._expiry = asyncio.get_running_loop().call_later(delay_s, self._expire)

    def _expire(self) -> None:
        for entry in self._queue.expire(self._clock()):
            self._models[entry.model].expire(entry.item)
        self._arm()
