"""The thin shell around `lifecycle`: a model is loaded when it is wanted, unloaded when it is not, and started again
after a crash."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from dataclasses import replace

from agent.errors import EdgeAgentError, MemoryBudgetError, ModelLoadError
from agent.runtime.episode import Episode, LoadTooLongError
from agent.runtime.faults import another, crashed, crashed_too_often, internal, stopping, unloaded_too_early
from agent.runtime.lifecycle import Life, Move, State, advance, completed
from agent.runtime.pace import Pace
from agent.runtime.place import Place
from agent.runtime.session import Session
from agent.runtime.shared import Shared
from agent.runtime.waiters import Waiters
from agent.runtime.wire.loading import Loaded
from agent.runtime.wire.memory import Memory
from agent.runtime.worker import Exit, Worker, WorkerGoneError

_log = logging.getLogger(__name__)

LOOK_S = 0.02


class Supervisor:
    """Of one version of a model, as a tenant of the memory budget. `run` is its whole life. The other methods belong to
    the event loop's thread, too."""

    def __init__(self, place: Place, shared: Shared) -> None:
        self.place = place
        self.life = Life(since=shared.clock())
        self.pace = Pace(place.name, place.spec.options, gives_way=place.candidate)
        self.waiters = Waiters()
        self.resident = place.spec.preload
        """Load it though no request waits: at the start, and again after a crash."""
        self.failure: EdgeAgentError | None = None
        """Why it has failed, or could not be loaded."""
        self.predicted: Memory | None = None
        self.used_at: float | None = None
        self.crashes = 0
        self._log = logging.LoggerAdapter(_log, {"fields": {"model": place.name}})
        self._shared = shared
        self._budget = shared.budget
        self._clock = shared.clock
        self._changed = asyncio.Event()
        self._episode: Episode | None = None
        self._worker_life: asyncio.Task[None] | None = None
        self._was_loaded = False
        self._holds = 0

    @property
    def session(self) -> Session | None:
        """With a worker that is loaded."""
        return self._episode.session if self._episode is not None else None

    @property
    def pid(self) -> int | None:
        worker = self._episode.worker if self._episode is not None else None
        return worker.pid if worker is not None and worker.running else None

    @property
    def running(self) -> int:
        """Requests."""
        return len(self.session.flights) if self.session is not None else 0

    def revive(self) -> None:
        """Try it again, if it had failed."""
        if self.life.state is State.FAILED:
            self._move(Move.REVIVE)

    def poke(self) -> None:
        """Look again at what is wanted."""
        self._changed.set()
        self._changed = asyncio.Event()

    def abandon(self, error: Callable[[], EdgeAgentError]) -> None:
        """Fail what runs."""
        if self.session is not None:
            self.session.abandon(error)

    async def stand_aside(self) -> None:
        """Be unloaded, for a successor to be loaded in its place; requests wait, until `come_back` or its take-over.

        What runs is finished. Waits a while for a moment when nothing does, so that as few as possible wait.
        """
        deadline = self._clock() + self.place.limits.quiet_wait_s
        self._was_loaded = self.life.state in (State.READY, State.LOADING)
        while self.life.state is State.LOADING:
            await self._changed.wait()
        while self._busy and self._clock() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_S)
        self.place.aside = True
        self.request_unload("its successor is loaded in its place")
        await self.unloaded()

    def come_back(self) -> None:
        """Nobody takes its place after all: serve again."""
        if self.place.aside:
            self.place.aside = False
            self.resident = self._was_loaded
            self.poke()

    # Tenant of the memory budget

    @property
    def key(self) -> str:
        return self.place.key

    @property
    def name(self) -> str:
        return self.place.name

    @property
    def pinned(self) -> bool:
        return self.place.pinned

    @property
    def keep_alive_s(self) -> float | None:
        return self.place.keep_alive_s

    @property
    def lane(self) -> str:
        return self.place.lane

    @property
    def spared(self) -> frozenset[str]:
        return self.place.spared

    def held_bytes(self) -> int:
        return self._episode.held_bytes() if self._episode is not None else 0

    def note(self, reason: str) -> None:
        self.life = replace(self.life, reason=reason)

    def request_unload(self, reason: str) -> None:
        if self.life.state is State.LOADING and self._worker_life is not None:
            self._worker_life.cancel()
            self.resident = False
            self.waiters.over(unloaded_too_early(self.name))
        elif self.life.state not in (State.READY, State.BACKOFF):
            return
        self._log.info("%s: unloading: %s", self.name, reason)
        self._move(Move.UNLOAD, reason=reason)
        if self.session is not None:
            self.session.drain()

    async def unloaded(self) -> None:
        if self._worker_life is not None:
            await asyncio.wait([self._worker_life])

    def hold(self) -> None:
        self._holds += 1
        if self.session is not None:
            self.session.held = True

    def resume(self) -> None:
        self._holds -= 1
        if self.session is not None and not self._holds:
            self.session.held = False
            self.session.dispatch()

    # Its life

    async def run(self) -> None:
        """Returns once retired; never raises but for its own cancellation."""
        try:
            while not self.place.retired:
                try:
                    await self._live_on()
                except Exception as error:
                    self._log.exception("%s: the runtime itself failed; the model is out of service", self.name)
                    self.life = Life(state=State.FAILED, reason=f"internal error: {error!r}", since=self._clock())
                    self._give_up(internal(self.name, error))
        finally:
            self.waiters.over(stopping())

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
        return not self.place.aside and bool(self._shared.queue.due(self.lane) or self.waiters or self.resident)

    @property
    def _busy(self) -> bool:
        return bool(self.running or self._shared.queue.waiting(self.lane))

    async def _run_episode(self) -> None:
        """From LOADING to whatever comes after this worker."""
        episode = self._episode = Episode(self, self.place.spec, shared=self._shared, pace=self.pace)
        self._worker_life = asyncio.create_task(self._live(episode), name=f"worker:{self.name}")
        try:
            try:
                await self._worker_life
            finally:
                if episode.session is not None and episode.session.proven:
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
            self._crash(gone.exit, too_long=isinstance(gone, LoadTooLongError))
        except Exception as error:
            self._log.exception("%s: the runtime failed at this worker", self.name)
            self._crash(Exit(f"lost to an internal error ({error!r})", -1))
        else:
            self._move(Move.EXITED, reason=self.life.reason)
        finally:
            if episode.session is not None:
                self.used_at = episode.session.used_at
                episode.session.abandon(stopping)
            self._worker_life = self._episode = None

    async def _live(self, episode: Episode) -> None:
        """One worker, from its start to its exit."""
        if self.predicted is not None:
            self._budget.check(self, self.predicted)
        async with episode.process() as worker:
            self.predicted = await episode.predict(worker, timeout_s=self.place.limits.start_timeout_s)
            await self.place.make_room(self, self.predicted, self._budget)
            self.note("")
            loaded = await episode.load(worker, timeout_s=self.place.limits.load_timeout_s)
            await episode.serve(self._ready(worker, loaded))
            self.request_unload("its keep-alive is over")  # unless it is unloading already
            exit = await episode.end(worker, self.place.limits)
            self._log.info("%s: worker %d %s", self.name, worker.pid, exit.reason)

    # Turns of fortune

    def _ready(self, worker: Worker, loaded: Loaded) -> Session:
        place = self.place
        place.counters.loads += 1
        self.resident = False
        self._move(Move.LOADED)
        self.waiters.over(None)
        self._log.info("%s: ready after %.2f s", self.name, loaded.load_s)
        session = Session(
            self,
            worker,
            loaded,
            queue=self._shared.queue,
            budget=self._budget,
            limits=place.limits,
            counters=place.counters,
            health=place.health,
            clock=self._clock,
        )
        session.held = self._holds > 0
        return session

    def _refused(self, error: EdgeAgentError, move: Move) -> None:
        """No point in trying again by ourselves."""
        self._log.error("%s: cannot be loaded: %s", self.name, error)
        self.place.counters.load_failures += 1
        self.place.health.crashes += 1
        self._move(move, reason=error.message)
        self._give_up(error)

    def _crash(self, exit: Exit, *, too_long: bool = False) -> None:
        tail = "".join(f"\n    {line}" for line in exit.tail)
        self._log.error("%s: worker %s with %d requests running%s", self.name, exit.reason, self.running, tail)
        place = self.place
        self.crashes += 1
        place.counters.crashes += 1
        place.health.crashes += 1
        place.health.requests_failed += self.running
        served = self.life.state is State.READY
        self._move(Move.CRASHED, reason=f"worker {exit.reason}", jitter=random.random())
        self.abandon(lambda: crashed(self.name, exit.reason))
        if self.life.state is State.FAILED:
            self._give_up(crashed_too_often(self.name, self.life.crashes, exit.reason, too_long=too_long))
        elif served and (self.pinned or place.spec.preload or place.kept):
            self.resident = True

    def _give_up(self, error: EdgeAgentError) -> None:
        self.failure = error
        self.resident = False
        self.waiters.over(error)
        if not self.place.retired:  # or the queue is its successor's
            for entry in self._shared.queue.clear(self.lane):
                self.place.counters.failed += 1
                entry.item.fail(another(error))

    def _move(self, move: Move, *, reason: str = "", jitter: float = 0.5) -> None:
        now, limits = self._clock(), self.place.limits
        self.life = advance(self.life, move, now=now, limits=limits, reason=reason, jitter=jitter)
        self.poke()
