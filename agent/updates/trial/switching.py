"""Versions put into service, and taken back: the active one of the store, and the one that the runtime serves, as one.

    switcher = Switcher(runtime, store, daemon.models_changed, cores=board.usable_cores)

`parts.Switching` and `parts.Watching`.

The runtime loads the new version beside the old one where there is room, and hands over between two requests; the one
that a trial has left standing by is taken as it is. Killed in between, the store has the old or the new version active,
and the next start serves that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from agent.errors import EdgeAgentError, LoadTimeoutError, ModelNotFoundError, UnavailableError
from agent.runtime.crowding import Crowding
from agent.runtime.load_watch import LoadWatch
from agent.runtime.service import Runtime
from agent.runtime.snapshot import Health as Counted
from agent.store.store import Store
from agent.updates.parts import Health


def health_of(counted: Counted) -> Health:
    return Health(
        requests_ok=counted.requests_ok,
        requests_failed=counted.requests_failed,
        crashes=counted.crashes,
        worked=counted.requests_ok,
        units=counted.units,
        work_s=counted.work_s,
    )


class Switcher:
    """`changed` makes the runtime serve what the store says now (`Daemon.models_changed`). `cores` is how many this
    process may use (`Board.usable_cores`): others on the rest of the board hold nobody up."""

    def __init__(self, runtime: Runtime, store: Store, changed: Callable[[], Awaitable[None]], *, cores: int) -> None:
        self._runtime = runtime
        self._store = store
        self._changed = changed
        self._cores = cores
        self._crowding: dict[str, Crowding] = {}
        """By model, since its active version was looked at first."""

    async def switch(self, name: str, version: str, *, load: bool = True) -> None:
        """`version` serves when this returns; without `load` it may be left unloaded where the one before was.

        Raises `EdgeAgentError` for a version that does not come into service; then the one before is active and serves.
        """
        before = self._store.layout.active_version(name)
        self._crowding.pop(name, None)
        await asyncio.to_thread(self._store.activate, name, version)
        try:
            await self._serve(name, load=load)
        except EdgeAgentError:
            if before != version:
                await self.back(name, before)
            raise

    async def back(self, name: str, version: str | None) -> None:
        """`version` serves again, whatever became of the one that is active now; None: no version does.

        Where it cannot be loaded now it is the active one all the same: a request will try it again.
        """
        self._crowding.pop(name, None)
        await asyncio.to_thread(self._activate_again, name, version)
        await self._changed()
        if version is not None:
            await self._runtime.settled(name)

    def health(self, name: str) -> Health:
        """Of the active version, since it began to serve in this process."""
        try:
            counted = self._runtime.health(name)
            shown = next((model for model in self._runtime.models() if model.name == name), None)
        except ModelNotFoundError:
            return Health()
        crowding = self._crowding.setdefault(name, Crowding(self._cores))
        crowding.look(self._runtime.worker_pid(name))
        under_way = 0 if shown is None else shown.running + shown.waiting
        return replace(health_of(counted), under_way=under_way, held_up=crowding.share)

    async def _serve(self, name: str, *, load: bool) -> None:
        watch = LoadWatch(lambda: self._runtime.worker_pid(name))
        try:
            async with watch:
                await self._changed()
                await self._runtime.settled(name)
                if load:
                    await self._runtime.load(name)
        except LoadTimeoutError as error:
            if watch.starved():
                raise UnavailableError(f"Others left too little time to load {name}.") from error
            raise

    def _activate_again(self, name: str, version: str | None) -> None:
        store = self._store
        if version is None:
            store.deactivate(name)
        elif store.layout.active_version(name) == version:
            return
        elif store.previous_version(name) == version:
            store.rollback(name)  # so that a later rollback does not lead to what was taken back
        else:
            store.activate(name, version)
