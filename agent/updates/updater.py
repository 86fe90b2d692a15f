"""The updater: one update at a time is brought to its switch, those that serve are watched beside it.

updater = Updater(store, Journal(path), fetching=..., trying=..., switching=..., watching=..., policy=..., around=...)
async with asyncio.TaskGroup() as group:
    group.create_task(updater.run())
    await updater.update("qwen", "2.1.0", origin="person")

Every decision is a move in the journal, made before or after what it says is done, so that a process that is killed
anywhere goes on from there: docs/updates.md tells what each state promises.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Collection
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from agent.errors import EdgeAgentError, UnavailableError
from agent.store.store import Store
from agent.updates.conditions import Conditions
from agent.updates.failures import Failures
from agent.updates.journal import Journal
from agent.updates.parts import Fetching, Switching, Trying, Watching
from agent.updates.policy import Circumstances, Policy, Terms, Wait
from agent.updates.record import Origin, Record
from agent.updates.register import Register
from agent.updates.report import Snapshot
from agent.updates.resume import resume, stopped
from agent.updates.states import State
from agent.updates.steps import Rules, Steps
from agent.updates.watch import Watch
from agent.updates.wishes import Wishes

LOOK_S: Final = 2.0
"""How often what waits is looked at again."""
WATCH_S: Final = 1.0
"""How often what serves on probation is."""
TROUBLE_S: Final = 30.0
"""Before the next try, when the journal itself cannot be written."""
READY_S: Final = 10.0
"""How long who asks for something waits for the journal to be opened."""

_log = logging.getLogger("agent.updates")


class Updater:
    """`run` in a task, the other methods in the same loop. `around` is asked how things are, and answers at once;
    `served_from` gives the file that a model is served from in place of the store. `changed` is called when `snapshot`
    may have changed. `wall` gives Unix time, `dice` is uniform in [0, 1)."""

    def __init__(
        self,
        store: Store,
        journal: Journal,
        *,
        fetching: Fetching | None,
        trying: Trying,
        switching: Switching,
        watching: Watching,
        policy: Policy,
        around: Callable[[], Circumstances],
        served_from: Callable[[str], Path | None] = lambda name: None,
        changed: Callable[[], None] = lambda: None,
        wall: Callable[[], float] = time.time,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._changed = changed
        self._wall = wall
        self._register = Register(journal, changed=changed, wall=wall)
        self._conditions = now = Conditions(self._register, policy, around=around, wall=wall)
        self._failures = Failures(self._register, store, now, dice=dice, wall=wall)
        rules = Rules(policy=now.policy_of, wait=now.wait, allowance=now.allowance, served_from=served_from)
        self._steps = Steps(self._register, store, rules, fetching=fetching, trying=trying, switching=switching)
        self._watch = Watch(self._register, store, switching=switching, watching=watching, policy=now.policy_of)
        self._wishes = Wishes(self._register, hold=self._hold, added=self._on_added)
        self._waits: dict[int, str] = {}
        """Why an update waits, by its number."""
        self._current: tuple[int, asyncio.Task[None]] | None = None
        self._held: set[int] = set()
        """Of which somebody is about to change the course."""
        self._wake = asyncio.Event()
        self._added = asyncio.Event()
        self._opened = asyncio.Event()
        self._error: str | None = None

    async def run(self) -> None:
        """Until it is cancelled. Only mistakes in the program end it otherwise."""
        try:
            while not self._opened.is_set():
                await self._open()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._work(), name="updates:work")
                group.create_task(self._look_after(), name="updates:watch")
        except asyncio.CancelledError:
            with contextlib.suppress(EdgeAgentError):
                await stopped(self._register)
            raise
        finally:
            await self._register.close()

    @property
    def opened(self) -> bool:
        """Whether it knows what was under way."""
        return self._opened.is_set()

    def apply(self, policy: Policy) -> None:
        """It counts from the next look on."""
        self._conditions.policy = policy

    async def update(
        self, name: str, version: str | None = None, *, origin: Origin, terms: Terms | None = None
    ) -> Record:
        """Asks for a version, None for the latest one. The update, which may be one that is under way already.

        Raises `RequestError` for what cannot be a name, `UnavailableError`, and what the journal raises.
        """
        await self._ready()
        return await self._wishes.ask(name, version, origin=origin, terms=terms or Terms())

    async def withdraw(self, name: str, version: str | None, *, terms: Terms, spared: Collection[int] = ()) -> None:
        """The fleet's command for this is taken back; those of `spared` have others."""
        await self._ready()
        await self._wishes.withdraw(name, version, terms, spared)

    async def cancel(self, name: str) -> list[Record]:
        """Takes back what is wanted of a model. Raises `RequestError` if there is nothing to take back."""
        await self._ready()
        return await self._wishes.cancel(name)

    async def desired(self, payload: bytes) -> None:
        """The fleet's desired state, as it came; on the disk when this returns. One that cannot be read changes
        nothing, and `snapshot` says what is wrong with it."""
        await self._ready()
        await self._wishes.strive(payload)
        self._changed()

    async def moves(self, id: int) -> list[dict[str, Any]]:
        """How update `id` came to its state."""
        await self._ready()
        return await self._register.moves(id)

    def snapshot(self) -> Snapshot:
        register = self._register
        return Snapshot(
            rev=self._wishes.desired.rev,
            error=self._error or self._wishes.unreadable or register.loss,
            records=tuple(register.records.values()),
            ended=tuple(register.ended),
            rejected=tuple(register.rejected.values()),
            waits=dict(self._waits),
            spent_bytes=register.spent_bytes,
            bytes_per_day=self._conditions.policy.bytes_per_day,
        )

    # Going on

    async def _open(self) -> None:
        try:
            await self._register.open()
            await self._register.learn_day(self._conditions.today)
            await resume(
                self._register,
                self._store,
                policy=self._conditions.policy_of,
                waits=lambda one: bool(self._held_up(one)),
                now=self._wall(),
            )
            await self._wishes.recall()
            self._opened.set()
            self._say(None)
        except EdgeAgentError as error:
            self._say(error.message)
            await asyncio.sleep(TROUBLE_S)

    async def _work(self) -> None:
        while True:
            self._wake.clear()
            record = self._next()
            if record is not None:
                await self._carry_out(record)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S if self._register.records else None):
                    await self._wake.wait()

    def _next(self) -> Record | None:
        """The update whose next step can be taken now; it is kept in mind why each of the others waits."""
        records = [
            one for one in self._register.records.values() if self._steps.does(one.state) and one.id not in self._held
        ]
        chosen: Record | None = None
        waits: dict[int, str] = {}
        for record in sorted(records, key=lambda one: (not one.terms.urgent, one.id)):
            why = self._obstacle(record)
            if why is not None:
                waits[record.id] = why
            elif chosen is None:
                chosen = record
            else:
                waits[record.id] = f"{chosen.label} is first"
        if waits != self._waits:
            self._waits = waits
            self._changed()
        return chosen

    def _obstacle(self, record: Record) -> str | None:
        for other in self._register.records.values():
            if other.name == record.name and other.id < record.id:
                return f"{other.label} is {_DOING.get(other.state, other.state)}"
        if record.retry_at is not None and self._conditions.rest_s(record) > 0:
            return f"the next attempt is at {datetime.fromtimestamp(record.retry_at):%H:%M:%S}"
        wait = self._held_up(record)
        return None if wait is None else wait.reason

    async def _carry_out(self, record: Record) -> None:
        task = asyncio.create_task(self._steps.take(record), name=f"update:{record.name}:{record.state}")
        self._current = record.id, task
        try:
            await asyncio.wait([task])
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task])
            self._current = None
        if not task.cancelled() and (error := task.exception()) is not None:
            if not isinstance(error, Exception):
                raise error
            await self._trouble(record, error)

    @contextlib.asynccontextmanager
    async def _hold(self, id: int) -> AsyncIterator[None]:
        """The step of this update ends, if it is being taken, and what it has begun to write is written; while held, no
        other step of it begins."""
        self._held.add(id)
        try:
            if self._current is not None and self._current[0] == id:
                task = self._current[1]
                task.cancel()
                await asyncio.wait([task])
            self._steps.forget(id)
            await self._register.settle()
            yield
        finally:
            self._held.discard(id)
            self._wake.set()

    async def _look_after(self) -> None:
        while True:
            self._added.clear()
            for id in list(self._register.records):
                record = self._register.records.get(id)
                if record is not None and self._watch.does(record.state) and self._conditions.rest_s(record) <= 0:
                    try:
                        await self._watch.look(record)
                    except Exception as error:
                        await self._trouble(record, error)
                    self._wake.set()
            with contextlib.suppress(EdgeAgentError):
                await self._register.learn_day(self._conditions.today)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WATCH_S if self._register.records else None):
                    await self._added.wait()

    def _on_added(self) -> None:
        self._wake.set()
        self._added.set()

    async def _trouble(self, taken: Record, error: Exception) -> None:
        self._steps.forget(taken.id)
        try:
            await self._failures.take(taken, error)
        except EdgeAgentError as failure:
            self._say(failure.message)
            await asyncio.sleep(TROUBLE_S)

    def _held_up(self, record: Record) -> Wait | None:
        """What the policy has against its next step."""
        step = self._steps.asks(record.state)
        return None if step is None else self._conditions.wait(step, record)

    async def _ready(self) -> None:
        try:
            async with asyncio.timeout(READY_S):
                await self._opened.wait()
        except TimeoutError:
            raise UnavailableError(f"The updater is not ready: {self._error or 'it is just starting.'}") from None

    def _say(self, error: str | None) -> None:
        if error is not None and error != self._error:
            _log.error("updates: %s", error)
        self._error = error
        self._changed()


_DOING: Final = {
    State.TRYING: "being tried",
    State.SWITCHING: "being switched to",
    State.PROBATION: "on probation",
}
