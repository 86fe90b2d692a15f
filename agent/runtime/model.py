"""One model: the thin shell around `lifecycle`. It loads, serves, unloads, and starts again after a crash."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from agent.errors import (
    EdgeAgentError,
    MemoryBudgetError,
    ModelFailedError,
    ModelLoadError,
    ShuttingDownError,
    UnavailableError,
    WorkerCrashedError,
)
from agent.runtime.budget import MemoryBudget, anonymous_bytes
from agent.runtime.cell import Cell, Cells
from agent.runtime.flights import another, error_from_wire
from agent.runtime.lifecycle import Life, Move, State, advance, completed, may_try
from agent.runtime.niceness import give_way, take_turn
from agent.runtime.queue import AdmissionQueue
from agent.runtime.session import Session, deadline_error
from agent.runtime.snapshot import Counters, Health, ModelSnapshot
from agent.runtime.spec import Limits, ModelSpec
from agent.runtime.stream import Stream
from agent.runtime.throttle import FULL_SPEED, Throttle
from agent.runtime.wire import (
    LlamaOptions,
    Loaded,
    LoadFailed,
    LoadModel,
    Memory,
    Predicted,
    Proceed,
    WireError,
)
from agent.runtime.worker import Exit, Worker, WorkerGoneError

_log = logging.getLogger(__name__)

M = TypeVar("M", Predicted, Loaded)

LOOK_S = 0.02
TURN_RETRY_S = 0.2
"""The kernel takes one change of a scheduling group in 0.1 s from us (kernel/sched/autogroup.c)."""


class Model:
    """`run` is the model's whole life; the other methods are called by the runtime, from the event loop's thread.

    One with a `rival` is made ready to take that one's place: until `take_over` it has a lane of its own in the queue,
    gives way to whoever serves, and counts for itself. If there is no room beside the rival, that one stands aside.
    """

    def __init__(
        self,
        spec: ModelSpec,
        *,
        key: str,
        queue: AdmissionQueue[Stream],
        budget: MemoryBudget,
        limits: Limits,
        counters: Counters,
        clock: Callable[[], float],
        command: Sequence[str],
        environment: Mapping[str, str] | None,
        cells: Cells | None,
        candidate: bool = False,
        rival: Model | None = None,
    ) -> None:
        self.spec = spec
        self.key = key
        self.health = Health()
        self._log = logging.LoggerAdapter(_log, {"fields": {"model": spec.name}})
        self.life = Life(since=clock())
        self._queue = queue
        self._budget = budget
        self._limits = limits
        self.counters = counters
        self._clock = clock
        self._command = command
        self._environment = environment
        self._cells = cells
        self._changed = asyncio.Event()
        self._episode: asyncio.Task[None] | None = None
        self._worker: Worker | None = None
        self._session: Session | None = None
        self._loading: list[asyncio.Future[None]] = []
        self._resident = spec.preload
        """Load it though no request waits: at the start, and again after a crash."""
        self._retired = False
        self._candidate = candidate
        self._rival = rival
        self._gives_way = candidate
        self._aside = False
        self._was_loaded = False
        self._kept = False
        self._throttle = FULL_SPEED
        self._holds = 0
        self._failure: EdgeAgentError | None = None
        self._predicted: Memory | None = None
        self._used_at: float | None = None
        self._crashes = 0

    # What the runtime asks

    @property
    def in_service(self) -> bool:
        """Whether it has a worker that serves, so that a successor need not hurry."""
        return self.life.state is State.READY and not self._retired

    @property
    def aside(self) -> bool:
        return self._aside

    @property
    def failure(self) -> EdgeAgentError | None:
        """Why it has failed, or could not be loaded."""
        return self._failure

    @property
    def memory_bytes(self) -> int:
        """What the ledger charges its worker with."""
        return self._budget.charged_bytes(self)

    @property
    def running(self) -> int:
        return len(self._session.flights) if self._session else 0

    @property
    def slots(self) -> int:
        return self._session.flights.slots if self._session else max(1, self.spec.options.slots)

    def check(self) -> None:
        """Raises the error that made the model fail, unless a request may try it again now."""
        if not may_try(self.life, self._clock()) and self._failure is not None:
            raise another(self._failure)

    def offer(self, stream: Stream) -> bool:
        """Start the request at once if a slot is free and nobody is before it."""
        return self._session is not None and self._session.offer(stream)

    def expect(self) -> None:
        """A request for this model waits in the queue."""
        if self.life.state is State.FAILED:
            self._move(Move.REVIVE)
        self._poke()
        if self._session is not None:
            self._session.dispatch()

    def expire(self, stream: Stream) -> None:
        """The deadline of a waiting request has passed."""
        self.counters.expired += 1
        reason = f": {self.life.reason}" if self.life.reason else "."
        why = "" if self.life.state is State.READY else f" The model is {self.life.state}{reason}"
        stream.fail(deadline_error(self.name, self._clock() - stream.submitted_at, why))

    async def load(self) -> None:
        """Load it, also if it had failed, and wait until it is ready. Raises what kept it from getting there."""
        if self.life.state is State.READY:
            return
        if self.life.state is State.FAILED:
            self._move(Move.REVIVE)
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._loading.append(waiter)
        self._poke()
        try:
            await waiter
        finally:
            with contextlib.suppress(ValueError):
                self._loading.remove(waiter)

    def update(self, spec: ModelSpec) -> None:
        """Other terms for the same worker."""
        self.spec = spec
        self._budget.terms(self)

    def keep(self, kept: bool, *, load: bool = False) -> None:
        """Whether somebody needs it at hand, though no request waits. Its keep-alive counts from the end of that.
        `load` loads it as soon as it runs."""
        self._resident = self._resident or load
        if kept == self._kept:
            return
        self._kept = kept
        if self._session is not None and not self.running:
            self._budget.use(self, busy=False)
        self._budget.terms(self)

    def take_over(self, old: Model | None, *, limits: Limits, counters: Counters) -> None:
        """It serves from now on, and who waits for `old` waits for it."""
        self._candidate, self._rival = False, None
        self._limits, self.counters, self.health = limits, counters, Health()
        self.set_pace(gives_way=False)
        self._budget.terms(self)
        if old is not None:
            self._loading += old.give_up_waiters()
        if self._session is not None:
            self._session.count(counters, self.health)
            self._loading_over(None)
            if not self.running:
                self._budget.use(self, busy=False)
            self._session.dispatch()
        self._poke()

    def give_up_waiters(self) -> list[asyncio.Future[None]]:
        """Whoever waits for it to be loaded, for its successor to answer."""
        waiters, self._loading = self._loading, []
        return waiters

    def set_pace(self, *, gives_way: bool) -> None:
        """Whether it leaves the processors to others: one thread, and behind the others in the scheduler."""
        self._gives_way = gives_way
        if self._session is None or self._worker is None:
            return
        self._tell_threads(self._session)
        if gives_way:
            give_way(self._worker.pid)
        elif not take_turn(self._worker.pid):
            asyncio.get_running_loop().call_later(TURN_RETRY_S, self._take_turn, self._worker)

    def throttle(self, throttle: Throttle) -> None:
        """Take no more of the board than this; engines of ONNX only know whether new work may begin."""
        self._throttle = throttle
        if self._session is not None:
            self._tell_threads(self._session)
            if isinstance(self.spec.options, LlamaOptions):
                self._session.set_pace(throttle.pace_of(self.spec.options))

    def _tell_threads(self, session: Session) -> None:
        options = self.spec.options
        if isinstance(options, LlamaOptions):
            order = self._throttle.threads_of(options)
            session.set_threads(*((1, 1) if self._gives_way else (order.threads, order.threads_batch)))

    def _take_turn(self, worker: Worker) -> None:
        if worker.running and not self._gives_way and not take_turn(worker.pid):
            self._log.warning("%s: worker %d stays behind the others in the scheduler", self.name, worker.pid)

    async def stand_aside(self) -> None:
        """Be unloaded, for a successor to be loaded in its place; requests wait, until `come_back` or its take-over.

        What runs is finished. Waits a while for a moment when nothing does, so that as few as possible wait.
        """
        deadline = self._clock() + self._limits.quiet_wait_s
        self._was_loaded = self.life.state in (State.READY, State.LOADING)
        while self.life.state is State.LOADING:
            await self._changed.wait()
        while self._busy and self._clock() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_S)
        self._aside = True
        self.request_unload("its successor is loaded in its place")
        await self.unloaded()

    @property
    def _busy(self) -> bool:
        return bool(self.running or self._queue.waiting(self.lane))

    def come_back(self) -> None:
        """Nobody takes its place after all: serve again."""
        if self._aside:
            self._aside = False
            self._resident = self._was_loaded
            self._poke()

    def silent_s(self) -> float:
        """How long ago the worker that serves gave its last answer; 0 where none serves."""
        return self._session.silent_s(self._clock()) if self._session is not None else 0.0

    def retire(self, error: EdgeAgentError) -> None:
        """Finish what runs, unload, and return from `run`; whoever waits for a load gets `error`."""
        self._retired = True
        self._budget.terms(self)
        self._loading_over(error)
        self.request_unload("retired")
        self._poke()

    def abandon(self, error: Callable[[], EdgeAgentError]) -> None:
        """Fail what runs."""
        if self._session is not None:
            self._session.abandon(error)

    # Tenant of the memory budget

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def pinned(self) -> bool:
        return self.spec.pinned and not (self._retired or self._candidate)

    @property
    def keep_alive_s(self) -> float | None:
        return None if self._candidate or (self._kept and not self._retired) else self.spec.keep_alive_s

    @property
    def lane(self) -> str:
        return self.key if self._candidate or self._retired else self.name

    @property
    def spared(self) -> frozenset[str]:
        return frozenset() if self._rival is None else frozenset({self._rival.key})

    def held_bytes(self) -> int:
        if self._worker is None:
            return 0
        anonymous = anonymous_bytes(self._worker.pid)
        if self._session is None:
            return anonymous or 0
        memory, stats = self._session.loaded.memory, self._session.stats
        gpu_bytes = stats.gpu_bytes if stats else memory.gpu_bytes
        if anonymous is not None:
            return anonymous + gpu_bytes
        resident_bytes = stats.resident_bytes if stats else memory.resident_bytes
        mapped_bytes = memory.weights_bytes if self.spec.options.mmap else 0
        return max(0, resident_bytes - mapped_bytes) + gpu_bytes

    def note(self, reason: str) -> None:
        self.life = replace(self.life, reason=reason)

    def request_unload(self, reason: str) -> None:
        if self.life.state is State.LOADING and self._episode is not None:
            self._episode.cancel()
            self._resident = False
            self._loading_over(UnavailableError(f"Model {self.name} was unloaded before it was ready."))
        elif self.life.state not in (State.READY, State.BACKOFF):
            return
        self._log.info("%s: unloading: %s", self.name, reason)
        self._move(Move.UNLOAD, reason=reason)
        if self._session is not None:
            self._session.drain()

    async def unloaded(self) -> None:
        if self._episode is not None:
            await asyncio.wait([self._episode])

    def hold(self) -> None:
        self._holds += 1
        if self._session is not None:
            self._session.held = True

    def resume(self) -> None:
        self._holds -= 1
        if self._session is not None and not self._holds:
            self._session.held = False
            self._session.dispatch()

    # Its life

    async def run(self) -> None:
        """Returns once retired; never raises but for its own cancellation."""
        try:
            while not self._retired:
                try:
                    await self._live_on()
                except Exception as error:
                    self._log.exception("%s: the runtime itself failed; the model is out of service", self.name)
                    self.life = Life(state=State.FAILED, reason=f"internal error: {error!r}", since=self._clock())
                    self._give_up(ModelFailedError(f"Model {self.name} is out of service: internal error {error!r}."))
        finally:
            self._loading_over(_stopping())

    async def _live_on(self) -> None:
        """Do what the present state asks for, or wait for a change."""
        life = self.life
        if life.state is State.LOADING:
            await self._run_episode()
        elif life.state is State.UNLOADED and self._wanted:
            self._move(Move.WANT)
        elif life.state is State.BACKOFF and life.retry_at is not None:
            left_s = life.retry_at - self._clock()
            if left_s <= 0:
                self._move(Move.RETRY if self._wanted else Move.UNLOAD)
            else:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), left_s)
        else:
            await self._changed.wait()

    @property
    def _wanted(self) -> bool:
        return not self._aside and bool(self._queue.due(self.lane) or self._loading or self._resident)

    async def _run_episode(self) -> None:
        """From LOADING to whatever comes after this worker."""
        self._episode = asyncio.create_task(self._live(), name=f"worker:{self.name}")
        try:
            try:
                await self._episode
            finally:
                if self._session is not None and self._session.proven:
                    self.life = completed(self.life)
        except asyncio.CancelledError:
            own = asyncio.current_task()
            if own is not None and own.cancelling():
                raise
            self._move(Move.EXITED, reason=self.life.reason)
        except ModelLoadError as error:
            self._refused(error, Move.REFUSED)
        except MemoryBudgetError as error:
            self._refused(error, Move.NO_ROOM)
        except WorkerGoneError as gone:
            self._crash(gone.exit)
        except Exception as error:
            self._log.exception("%s: the runtime failed at this worker", self.name)
            self._crash(Exit(f"lost to an internal error ({error!r})", -1))
        else:
            self._move(Move.EXITED, reason=self.life.reason)
        finally:
            if self._session is not None:
                self._used_at = self._session.used_at
                self._session.abandon(_stopping)
            self._session = self._episode = None

    async def _live(self) -> None:
        """One worker, from its start to its exit."""
        if self._predicted is not None:
            self._budget.check(self, self._predicted)
        worker = await Worker.spawn(self._command, self.name, environment=self._environment)
        self._worker = worker
        if self._gives_way:
            give_way(worker.pid)
        cell = self._cells.open(self.name, worker.pid) if self._cells is not None else None
        self._budget.enter(self)
        try:
            session = self._session = self._ready(worker, await self._load(worker, cell))
            if self._gives_way:
                self.set_pace(gives_way=True)
            if self._throttle != FULL_SPEED:
                self.throttle(self._throttle)
            await session.serve()
            self.request_unload("its keep-alive is over")  # unless it is unloading already
            exit = await worker.shutdown(
                grace_s=self._limits.shutdown_grace_s, terminate_s=self._limits.terminate_grace_s
            )
            self._log.info("%s: worker %d %s", self.name, worker.pid, exit.reason)
        finally:
            await worker.kill("not needed any more")
            self._worker = None
            if cell is not None:
                cell.close()
            self._budget.leave(self)

    async def _load(self, worker: Worker, cell: Cell | None) -> Loaded:
        worker.send(LoadModel(name=self.name, path=self.spec.path, options=self.spec.options))
        predicted = await self._await(Predicted, worker, self._limits.start_timeout_s)
        self._predicted = predicted.memory
        await self._make_room(predicted.memory)
        self.note("")
        worker.send(Proceed())
        loaded = await self._await(Loaded, worker, self._limits.load_timeout_s)
        self._budget.charge(self, loaded.memory)
        if cell is not None:
            cell.limit(self._budget.charged_bytes(self))
        return loaded

    async def _make_room(self, memory: Memory) -> None:
        try:
            await self._budget.acquire(self, memory)
        except MemoryBudgetError:
            rival = self._rival
            if rival is None or rival.aside or not self._budget.fits_without(rival, self, memory):
                raise
            self.note(f"waiting for version {rival.spec.version} to be unloaded: both do not fit")
            await rival.stand_aside()
            await self._budget.acquire(self, memory)

    async def _await(self, kind: type[M], worker: Worker, timeout_s: float) -> M:
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    for message in await worker.receive():
                        if isinstance(message, kind):
                            return message
                        if isinstance(message, LoadFailed):
                            raise _load_error(message.error)
        except TimeoutError:
            raise WorkerGoneError(await worker.kill(f"did not load within {timeout_s:g} s")) from None

    # Turns of fortune

    def _ready(self, worker: Worker, loaded: Loaded) -> Session:
        self.counters.loads += 1
        self._resident = False
        self._move(Move.LOADED)
        self._loading_over(None)
        self._log.info("%s: ready after %.2f s", self.name, loaded.load_s)
        session = Session(
            self,
            worker,
            loaded,
            queue=self._queue,
            budget=self._budget,
            limits=self._limits,
            counters=self.counters,
            health=self.health,
            clock=self._clock,
        )
        session.held = self._holds > 0
        return session

    def _refused(self, error: EdgeAgentError, move: Move) -> None:
        """No point in trying again by ourselves."""
        self._log.error("%s: cannot be loaded: %s", self.name, error)
        self.counters.load_failures += 1
        self.health.crashes += 1
        self._move(move, reason=error.message)
        self._give_up(error)

    def _crash(self, exit: Exit) -> None:
        tail = "".join(f"\n    {line}" for line in exit.tail)
        self._log.error("%s: worker %s with %d requests running%s", self.name, exit.reason, self.running, tail)
        self._crashes += 1
        self.counters.crashes += 1
        self.health.crashes += 1
        self.health.requests_failed += self.running
        served = self.life.state is State.READY
        self._move(Move.CRASHED, reason=f"worker {exit.reason}", jitter=random.random())
        self.abandon(
            lambda: WorkerCrashedError(
                f"The worker of model {self.name} was lost while this request ran: {exit.reason}.",
                hint="It is safe to send the request again.",
            )
        )
        if self.life.state is State.FAILED:
            crashes = self.life.crashes
            lost = f"{crashes} workers in a row were lost, the last one" if crashes > 1 else "its worker was lost: it"
            error = ModelFailedError(
                f"Model {self.name} is out of service: {lost} {exit.reason}.",
                hint=f"See the log for the cause, then load it again: POST /models/{self.name}/load.",
            )
            self._give_up(error)
        elif served and (self.pinned or self.spec.preload or self._kept):
            self._resident = True

    def _give_up(self, error: EdgeAgentError) -> None:
        self._failure = error
        self._resident = False
        self._loading_over(error)
        if not self._retired:  # or the queue is its successor's
            for entry in self._queue.clear(self.lane):
                self.counters.failed += 1
                entry.item.fail(another(error))

    def _loading_over(self, error: EdgeAgentError | None) -> None:
        waiters, self._loading = self._loading, []
        for waiter in waiters:
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(another(error))

    def _move(self, move: Move, *, reason: str = "", jitter: float = 0.5) -> None:
        self.life = advance(self.life, move, now=self._clock(), limits=self._limits, reason=reason, jitter=jitter)
        self._poke()

    def _poke(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def snapshot(self, successor: str | None = None) -> ModelSnapshot:
        """`successor` is the version that is to take its place."""
        now = self._clock()
        life, worker, session = self.life, self._worker, self._session
        used_at = session.used_at if session and session.used_at is not None else self._used_at
        return ModelSnapshot(
            name=self.name,
            version=self.spec.version,
            task=self.spec.task,
            created=self.spec.created,
            aliases=self.spec.aliases,
            pinned=self.pinned,
            keep_alive_s=self.keep_alive_s,
            state=life.state.value,
            reason=life.reason,
            slots=self.slots,
            running=self.running,
            slots_used=session.flights.slots_used if session else 0,
            waiting=self._queue.waiting(self.lane),
            crashes_in_a_row=0 if session and session.proven else life.crashes,
            crashes=self._crashes,
            pid=worker.pid if worker is not None and worker.running else None,
            predicted=self._predicted,
            charged_bytes=self._budget.charged_bytes(self),
            loaded=session.loaded if session else None,
            stats=session.stats if session else None,
            loaded_for_s=now - life.since if session and life.state is State.READY else None,
            idle_for_s=0.0 if self.running else None if used_at is None else now - used_at,
            retry_in_s=None if life.retry_at is None else max(0.0, life.retry_at - now),
            health=self.health.copy(),
            successor=successor,
            shortens=self.spec.shortens,
            prompts=self.spec.prompts,
        )


def _load_error(error: WireError) -> EdgeAgentError:
    """A load that failed is never the fault of the request that waits for it, whatever the worker calls it."""
    cause = error_from_wire(error)
    if isinstance(cause, (ModelLoadError, MemoryBudgetError)):
        return cause
    return ModelLoadError(cause.message, hint=cause.hint)


def _stopping() -> EdgeAgentError:
    return ShuttingDownError("The daemon is shutting down.")
