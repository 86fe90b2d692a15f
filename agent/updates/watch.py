"""Probation, and the ways out: back to the version before, and the removal of what nobody wants."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from agent.errors import ModelNotFoundError
from agent.store.store import Store
from agent.updates.leftovers import key_of
from agent.updates.parts import Health, Switching, Watching
from agent.updates.policy import Policy
from agent.updates.record import Record
from agent.updates.register import Register
from agent.updates.states import Move, State
from agent.updates.trial.probation import load_of, outcome

STEADY_S: Final = 60.0
"""A version that has served so long, or answered a request, did not end the daemon that was lost before: a device that
is switched off at the wall after each use must come to the end of a probation too."""

_log = logging.getLogger("agent.updates")


class Watch:
    """`look` about once a second, for each update of `does`. `clock` gives seconds that never go back."""

    def __init__(
        self,
        register: Register,
        store: Store,
        *,
        switching: Switching,
        watching: Watching,
        policy: Callable[[Record], Policy],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._register = register
        self._store = store
        self._switching = switching
        self._watching = watching
        self._policy = policy
        self._clock = clock
        self._since: dict[int, tuple[float, float, Health]] = {}
        """By update: when this process began to watch it; how long it had served, and how it had been, before."""

    @staticmethod
    def does(state: State) -> bool:
        return state in (
            State.PROBATION,
            State.REVERTING,
            State.RETURNING,
            State.REJECTING,
            State.CANCELLING,
        )

    async def look(self, record: Record) -> None:
        """One step on, if it is time. Raises `EdgeAgentError`."""
        match record.state:
            case State.PROBATION:
                await self._judge(record)
            case State.REVERTING | State.RETURNING:
                await self._switching.back(record.name, record.previous)
                self._since.pop(record.id, None)
                await self._register.move(record.id, Move.REVERT, reason=record.reason)
            case State.REJECTING | State.CANCELLING:
                await self._clean(record)

    async def _judge(self, record: Record) -> None:
        if self._store.layout.active_version(record.name) != record.version:
            self._since.pop(record.id, None)
            await self._register.move(record.id, Move.DISPLACE, reason="another version was activated")
            return
        since, served_s, before = self._since.setdefault(record.id, (self._clock(), record.served_s, record.health))
        served_s += self._clock() - since
        now = self._watching.health(record.name)
        health = Health(
            requests_ok=before.requests_ok + now.requests_ok,
            requests_failed=before.requests_failed + now.requests_failed,
            crashes=before.crashes + now.crashes,
            under_way=now.under_way,
            worked=now.worked,
            units=now.units,
            work_s=now.work_s,
            held_up=now.held_up,
        )
        steady = now.requests_ok > 0 or self._clock() - since >= STEADY_S
        interruptions = 0 if steady else record.interruptions
        self._register.progress(record.id, served_s=served_s, health=health, interruptions=interruptions)
        await self._register.note(record.id)
        result = outcome(health, served_s, self._policy(record).limits, load_of(record.figures))
        if result is None:
            return
        self._since.pop(record.id, None)
        if result.healthy:
            await self._prune(record)
            await self._register.move(record.id, Move.PROVE, reason=result.reason)
        else:
            _log.error("%s goes back to %s: %s", record.label, record.previous or "nothing", result.reason)
            await self._register.move(record.id, Move.CONDEMN, reason=result.reason)

    async def _clean(self, record: Record) -> None:
        """What the update brought goes; a version that was in the store before it stays. So does what was fetched of
        one that was taken back, unless another is wanted in its place: somebody may want it after all."""
        displaced = any(one.name == record.name and one.id > record.id for one in self._register.records.values())
        if record.digest is not None and (displaced or record.state is State.REJECTING):
            await asyncio.to_thread(self._store.incoming.remove, key_of(record.digest))
        if record.adopted and record.version is not None:
            await asyncio.to_thread(self._remove, record.name, record.version)
        await self._register.move(record.id, Move.CLEAN, reason=record.reason)

    def _remove(self, name: str, version: str) -> None:
        if self._store.layout.active_version(name) == version:
            return  # somebody has activated it by hand meanwhile
        try:
            self._store.remove(name, version)
        except ModelNotFoundError:
            return  # it was removed before

    async def _prune(self, record: Record) -> None:
        """Old versions that came as updates, beyond what is kept for a way back."""
        try:
            await asyncio.to_thread(self._prune_now, record)
        except Exception as error:
            _log.warning("old versions of %s were not removed: %s", record.name, error)

    def _prune_now(self, record: Record) -> None:
        name, layout = record.name, self._store.layout
        came = [one.version for one in self._register.ended if one.name == name and one.adopted]
        safe = {record.version, layout.active_version(name), self._store.previous_version(name)}
        there = [version for version in dict.fromkeys(came) if version in layout.versions(name)]
        surplus = len(layout.versions(name)) - self._policy(record).keep_versions
        for version in reversed(there):  # the oldest first
            if surplus > 0 and version is not None and version not in safe:
                self._store.remove(name, version)
                surplus -= 1
