"""Model updates as the daemon keeps them: the updater with everything that it needs on this device."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

from agent.errors import ConfigError, UnavailableError, UpdateError
from agent.hardware.metered import read_metered
from agent.hardware.power.supply import read_supply
from agent.runtime.service import Runtime
from agent.runtime.spec import Limits as RuntimeLimits
from agent.runtime.spec import ModelSpec
from agent.settings import UpdatesSettings
from agent.store.layout import StoredModel
from agent.store.store import Store
from agent.updates.desired import read_terms
from agent.updates.fetch.clock import RELEASED
from agent.updates.fetch.fetch import Fetch, FetchOptions
from agent.updates.journal import Journal
from agent.updates.parts import BlockPipe, Fetching, Limits
from agent.updates.policy import Circumstances, Policy, check_windows
from agent.updates.record import Origin, Record
from agent.updates.report import as_values, described, panel, twin
from agent.updates.states import State
from agent.updates.trial.switching import Switcher
from agent.updates.trial.trial import Trial
from agent.updates.updater import Updater

FOLDER: Final = "updates"
"""In the state folder."""
JOURNAL: Final = "updates.db"
OVER_MQTT: Final = "mqtt:"
AGAIN_S: Final = 60.0
"""After a mistake in the updater itself."""
METERED_S: Final = 60.0
"""How often it is asked whether the network costs money, while an update is under way."""
MB: Final = 1_000_000
KB: Final = 1_000

_log = logging.getLogger("agent.updates")


class Daemon(Protocol):
    """`agent.app.Daemon`."""

    async def models_changed(self) -> None: ...

    def spec_of(self, model: StoredModel) -> ModelSpec | None:
        """How a version would run if it were the active one; None where this device cannot."""

    def is_spoken_to(self) -> bool:
        """Somebody is speaking into the microphone."""

    def served_from(self, name: str) -> Path | None:
        """The file that a model is served from in place of the store."""


def policy_of(settings: UpdatesSettings, runtime: RuntimeLimits) -> Policy:
    """Raises `ConfigError`."""
    return Policy(
        windows=check_windows(settings.windows),
        bytes_per_day=None if settings.daily_mb is None else settings.daily_mb * MB,
        bytes_per_s=None if settings.bandwidth_kb_s is None else settings.bandwidth_kb_s * KB,
        metered=settings.metered,
        metered_bytes=round(settings.metered_mb * MB),
        battery_percent=settings.battery_percent,
        while_speaking=settings.while_speaking,
        attempts=settings.attempts,
        retry_first_s=settings.retry_first_s,
        retry_cap_s=settings.retry_cap_s,
        interruptions=settings.interruptions,
        keep_versions=settings.keep_versions,
        limits=Limits(
            speed_ratio=settings.speed_ratio,
            memory_ratio=settings.memory_ratio,
            load_timeout_s=min(runtime.load_timeout_s, settings.trial_timeout_s),
            trial_timeout_s=settings.trial_timeout_s,
            hang_timeout_s=runtime.hang_timeout_s,
            probation_s=settings.probation_s,
            probation_requests=settings.probation_requests,
            probation_crashes=settings.probation_crashes,
            probation_error_ratio=settings.probation_error_percent / 100,
            probation_error_requests=settings.probation_error_requests,
        ),
    )


def fetching_of(settings: UpdatesSettings, state_dir: Path, pipe: BlockPipe | None) -> Fetching | None:
    """None where no repository is set. `pipe` is there where a broker is. Raises `ConfigError`."""
    url, root_file = settings.url, settings.root_file
    if url is None or root_file is None:
        return None
    if url == OVER_MQTT and pipe is None:
        raise ConfigError("updates.url is mqtt:, and there is no broker.", hint="Set mqtt.url.", param="updates.url")
    if url != OVER_MQTT and not url.startswith(("http://", "https://")):
        raise ConfigError(f"updates.url = {url[:80]!r}: expected http://, https:// or mqtt:.", param="updates.url")
    if not root_file.is_file():
        raise ConfigError(f"updates.root_file = '{root_file}' is not there.", param="updates.root_file")
    options = FetchOptions(
        url=None if url == OVER_MQTT else url,
        root_file=root_file,
        folder=state_dir / FOLDER,
        models=state_dir / "models",
        device_class=settings.device_class,
    )
    return Fetch(options, pipe if url == OVER_MQTT else None)


class Updates:
    """Updates for as long as the daemon runs. A mistake in the updater ends it alone: it is logged, and a minute later
    it goes on from its journal. `cores` is how many this process may use, `pipe` the broker, where there is one. Raises
    `ConfigError`."""

    def __init__(
        self,
        settings: UpdatesSettings,
        daemon: Daemon,
        runtime: Runtime,
        store: Store,
        *,
        state_dir: Path,
        limits: RuntimeLimits,
        cores: int,
        pipe: BlockPipe | None = None,
    ) -> None:
        self._policy = policy_of(settings, limits)
        self._limits = limits
        self._daemon = daemon
        self._state_dir = state_dir
        self._fetching = fetching_of(settings, state_dir, pipe)
        self._store = store
        self._trial = Trial(runtime, daemon.spec_of)
        self._switcher = Switcher(runtime, store, daemon.models_changed, cores=cores)
        self._listeners: list[Callable[[], None]] = []
        self._told: object = None
        self._moved = asyncio.Event()
        self._followed: Counter[int] = Counter()
        """How many commands await the end of an update, by its number."""
        self._metered: bool | None = None
        self._updater = self._make()
        self._task: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    async def run(self) -> None:
        """Until `close`."""
        asking = asyncio.create_task(self._ask_whether_metered(), name="updates:metered")
        try:
            await self._run()
        finally:
            asking.cancel()

    async def _run(self) -> None:
        while not self._closing.is_set():
            self._task = asyncio.create_task(self._updater.run(), name="updater")
            try:
                await asyncio.wait([self._task])
            finally:
                self._task.cancel()
            if not self._task.cancelled() and (error := self._task.exception()) is not None:
                _log.error("updates stopped working; they go on in %.0f s", AGAIN_S, exc_info=error)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(AGAIN_S):
                        await self._closing.wait()
                self._updater = self._make()

    async def close(self) -> None:
        """Ends in order: what is under way goes on at the next start."""
        self._closing.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def apply(self, settings: UpdatesSettings) -> None:
        """A new policy, from the next look on. Raises `ConfigError`."""
        self._policy = policy_of(settings, self._limits)
        self._updater.apply(self._policy)

    def on_change(self, listener: Callable[[], None]) -> None:
        """`listener` is called when an update has moved, or waits for something else."""
        self._listeners.append(listener)

    async def update(
        self, name: str, version: str | None = None, *, origin: Origin, policy: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The update that was asked for, as `described`. Raises `RequestError`, `UnavailableError`, `StoreError`."""
        terms = read_terms(policy or {}, "policy")
        return self._described(await self._updater.update(name, version, origin=origin, terms=terms))

    async def outcome(self, id: int) -> dict[str, Any]:
        """The update once it has come to its end. Raises `UpdateError` unless it is the model's version then."""
        self._followed[id] += 1
        try:
            while any(one.id == id for one in self._updater.snapshot().records):
                await self._moved.wait()
        finally:
            self._followed -= Counter({id: 1})
        ended = next((one for one in self._updater.snapshot().ended if one.id == id), None)
        if ended is None:
            raise UnavailableError("What became of the update is not known any more.")
        if ended.state is not State.COMMITTED:
            raise UpdateError(f"{ended.label} was {ended.state.value}: {ended.reason}")
        return self._described(ended)

    async def withdraw(self, name: str, version: str | None = None, *, policy: Mapping[str, Any] | None = None) -> None:
        """The command that asked for it is taken back; others who want the same are not."""
        terms = read_terms(policy or {}, "policy")
        await self._updater.withdraw(name, version, terms=terms, spared=frozenset(self._followed))

    async def cancel(self, name: str) -> list[dict[str, Any]]:
        """Raises `RequestError` where nothing can be taken back."""
        return [self._described(record) for record in await self._updater.cancel(name)]

    async def history(self, id: int) -> dict[str, Any] | None:
        """One update with its moves; None for one that is not known."""
        snapshot = self._updater.snapshot()
        found = next((one for one in (*snapshot.records, *snapshot.ended) if one.id == id), None)
        return None if found is None else {**self._described(found), "moves": await self._updater.moves(id)}

    async def desired(self, payload: bytes) -> None:
        """See `Updater.desired`."""
        await self._updater.desired(payload)

    def state(self) -> dict[str, Any]:
        """For /updates."""
        return as_values(self._updater.snapshot())

    def brief(self) -> dict[str, Any]:
        """For /status."""
        snapshot = self._updater.snapshot()
        return {
            "repository": self._fetching is not None,
            "error": snapshot.error,
            "updates": [described(record, snapshot.waits.get(record.id)) for record in snapshot.records],
            "lines": panel(snapshot.records, snapshot.waits),
        }

    def twin(self) -> dict[str, Any]:
        """For `P/twin/model`."""
        return twin(self._updater.snapshot())

    def _make(self) -> Updater:
        return Updater(
            self._store,
            Journal(self._state_dir / FOLDER / JOURNAL),
            fetching=self._fetching,
            trying=self._trial,
            switching=self._switcher,
            watching=self._switcher,
            policy=self._policy,
            around=self._around,
            served_from=self._daemon.served_from,
            changed=self._on_change,
        )

    def _around(self) -> Circumstances:
        supply = read_supply()
        return Circumstances(
            now=datetime.now().astimezone(),
            clock_set=time.time() >= RELEASED.timestamp(),
            on_mains=supply.on_mains,
            battery_percent=supply.battery_percent,
            speaking=self._daemon.is_spoken_to(),
            metered=self._metered,
        )

    async def _ask_whether_metered(self) -> None:
        """Only where an update is under way, and the answer counts."""
        while True:
            moved = self._moved
            if not self._updater.snapshot().records or self._policy.metered != "auto":
                await moved.wait()
                continue
            self._metered = await read_metered()
            await asyncio.sleep(METERED_S)

    def _on_change(self) -> None:
        snapshot = self._updater.snapshot()
        told = [(one.id, one.state, one.reason) for one in snapshot.records], dict(snapshot.waits), snapshot.error
        if told == self._told:
            return  # mere progress
        self._told = told
        self._moved.set()
        self._moved = asyncio.Event()
        for listener in self._listeners:
            listener()

    def _described(self, record: Record) -> dict[str, Any]:
        return described(record, self._updater.snapshot().waits.get(record.id))
