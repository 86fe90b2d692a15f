"""One version of a model, as the runtime sees it: requests are offered to it, and it says how it does."""

from __future__ import annotations

from collections.abc import Callable

from agent.errors import EdgeAgentError
from agent.runtime.faults import another, deadline_error
from agent.runtime.lifecycle import Life, State, may_try
from agent.runtime.pace import Pace
from agent.runtime.place import Place
from agent.runtime.shared import Shared
from agent.runtime.snapshot import Counters, Health, ModelSnapshot
from agent.runtime.spec import Limits, ModelSpec
from agent.runtime.stream import Stream
from agent.runtime.supervisor import Supervisor


class Model:
    """`run` is the model's whole life; the other methods are called by the runtime, from the event loop's thread.

    A `candidate` has a lane of its own in the queue, gives way to whoever serves, and counts for itself, until
    `take_over`. `rival` is the version whose place it is to take: if there is no room beside it, that one stands aside.
    """

    def __init__(
        self,
        spec: ModelSpec,
        *,
        key: str,
        shared: Shared,
        limits: Limits,
        counters: Counters,
        candidate: bool = False,
        rival: Model | None = None,
    ) -> None:
        self._shared = shared
        self._place = Place(
            spec,
            key=key,
            limits=limits,
            counters=counters,
            candidate=candidate,
            rival=None if rival is None else rival._supervisor,
        )
        self._supervisor: Supervisor = Supervisor(self._place, shared)

    @property
    def spec(self) -> ModelSpec:
        return self._place.spec

    @property
    def name(self) -> str:
        return self._place.name

    @property
    def lane(self) -> str:
        """Under which name its requests wait in the queue."""
        return self._place.lane

    @property
    def counters(self) -> Counters:
        return self._place.counters

    @property
    def health(self) -> Health:
        return self._place.health

    @property
    def aside(self) -> bool:
        """Whether it was unloaded for a successor to be loaded in its place."""
        return self._place.aside

    @property
    def life(self) -> Life:
        return self._supervisor.life

    @property
    def pace(self) -> Pace:
        return self._supervisor.pace

    @property
    def failure(self) -> EdgeAgentError | None:
        """Why it has failed, or could not be loaded."""
        return self._supervisor.failure

    @property
    def in_service(self) -> bool:
        """Whether it has a worker that serves, so that a successor need not hurry."""
        return self.life.state is State.READY and not self._place.retired

    @property
    def memory_bytes(self) -> int:
        """What the ledger charges its worker with."""
        return self._shared.budget.charged_bytes(self._supervisor)

    @property
    def running(self) -> int:
        """Requests."""
        return self._supervisor.running

    @property
    def slots(self) -> int:
        session = self._supervisor.session
        return session.flights.slots if session is not None else max(1, self.spec.options.slots)

    async def run(self) -> None:
        """Returns once retired; never raises but for its own cancellation."""
        await self._supervisor.run()

    # Requests

    def check(self) -> None:
        """Raises the error that made the model fail, unless a request may try it again now."""
        if not may_try(self.life, self._shared.clock()) and self.failure is not None:
            raise another(self.failure)

    def offer(self, stream: Stream) -> bool:
        """Start the request at once if a slot is free and nobody is before it."""
        session = self._supervisor.session
        return session is not None and session.offer(stream)

    def expect(self) -> None:
        """A request for this model waits in the queue."""
        self._supervisor.revive()
        self._supervisor.poke()
        if self._supervisor.session is not None:
            self._supervisor.session.dispatch()

    def expire(self, stream: Stream) -> None:
        """The deadline of a waiting request has passed."""
        self.counters.expired += 1
        reason = f": {self.life.reason}" if self.life.reason else "."
        why = "" if self.life.state is State.READY else f" The model is {self.life.state}{reason}"
        stream.fail(deadline_error(self.name, self._shared.clock() - stream.submitted_at, why))

    def abandon(self, error: Callable[[], EdgeAgentError]) -> None:
        """Fail what runs."""
        self._supervisor.abandon(error)

    # Loading

    async def load(self) -> None:
        """Load it, also if it had failed, and wait until it is ready. Raises what kept it from getting there."""
        if self.life.state is State.READY:
            return
        supervisor = self._supervisor
        supervisor.revive()
        waiter = supervisor.waiters.add()
        supervisor.poke()
        try:
            await waiter
        finally:
            supervisor.waiters.remove(waiter)

    def request_unload(self, reason: str) -> None:
        """Finish what runs, start nothing more, and exit. Takes effect before the call returns."""
        self._supervisor.request_unload(reason)

    async def unloaded(self) -> None:
        """Wait until its worker is gone."""
        await self._supervisor.unloaded()

    # Its place

    def update(self, spec: ModelSpec) -> None:
        """Other terms for the same worker."""
        self._place.spec = spec
        self._shared.budget.terms(self._supervisor)

    def keep(self, kept: bool, *, load: bool = False) -> None:
        """Whether somebody needs it at hand, though no request waits. Its keep-alive counts from the end of that.
        `load` loads it as soon as it runs."""
        supervisor, budget = self._supervisor, self._shared.budget
        supervisor.resident = supervisor.resident or load
        if kept == self._place.kept:
            return
        self._place.kept = kept
        if supervisor.session is not None and not self.running:
            budget.use(supervisor, busy=False)
        budget.terms(supervisor)

    def take_over(self, old: Model | None, *, limits: Limits, counters: Counters) -> None:
        """It serves from now on, and who waits for `old` waits for it."""
        supervisor, budget = self._supervisor, self._shared.budget
        self._place.take(limits=limits, counters=counters)
        self.pace.set(gives_way=False)
        budget.terms(supervisor)
        if old is not None:
            supervisor.waiters.take(old._supervisor.waiters)
        session = supervisor.session
        if session is not None:
            session.count(counters, self.health)
            supervisor.waiters.over(None)
            if not self.running:
                budget.use(supervisor, busy=False)
            session.dispatch()
        supervisor.poke()

    def come_back(self) -> None:
        """Nobody takes its place after all: serve again, if it stood aside."""
        self._supervisor.come_back()

    def retire(self, error: EdgeAgentError) -> None:
        """Finish what runs, unload, and return from `run`; whoever waits for a load gets `error`."""
        self._place.retired = True
        self._shared.budget.terms(self._supervisor)
        self._supervisor.waiters.over(error)
        self._supervisor.request_unload("retired")
        self._supervisor.poke()

    # How it does

    def silent_s(self) -> float:
        """How long ago the worker that serves gave its last answer; 0 where none serves."""
        session = self._supervisor.session
        return session.silent_s(self._shared.clock()) if session is not None else 0.0

    def snapshot(self, successor: str | None = None) -> ModelSnapshot:
        """`successor` is the version that is to take its place."""
        now = self._shared.clock()
        place, supervisor = self._place, self._supervisor
        spec, life, session = place.spec, supervisor.life, supervisor.session
        used_at = session.used_at if session and session.used_at is not None else supervisor.used_at
        return ModelSnapshot(
            name=spec.name,
            version=spec.version,
            task=spec.task,
            created=spec.created,
            aliases=spec.aliases,
            pinned=place.pinned,
            keep_alive_s=place.keep_alive_s,
            state=life.state.value,
            reason=life.reason,
            slots=self.slots,
            running=self.running,
            slots_used=session.flights.slots_used if session else 0,
            waiting=self._shared.queue.waiting(place.lane),
            crashes_in_a_row=0 if session and session.proven else life.crashes,
            crashes=supervisor.crashes,
            pid=supervisor.pid,
            predicted=supervisor.predicted,
            charged_bytes=self.memory_bytes,
            loaded=session.loaded if session else None,
            stats=session.stats if session else None,
            loaded_for_s=now - life.since if session and life.state is State.READY else None,
            idle_for_s=0.0 if self.running else None if used_at is None else now - used_at,
            retry_in_s=None if life.retry_at is None else max(0.0, life.retry_at - now),
            health=place.health.copy(),
            successor=successor,
            shortens=spec.shortens,
            prompts=spec.prompts,
        )
