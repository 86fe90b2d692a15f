"""The models of this device for the twin: the runtime is asked each time, the disk only when it may have changed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from agent.errors import EdgeAgentError
from agent.fleet.announce.models import models_twin
from agent.runtime.service import Runtime
from agent.store.store import Listing, Store

LIST_S: Final = 60.0
"""What another process has imported is seen after this time."""

_log = logging.getLogger("agent.fleet.announce")


class Updates(Protocol):
    """`agent.updates_side.Updates`."""

    def twin(self) -> Mapping[str, Any]:
        """`rev`, `error`, and by model its `update` and `rejected` versions."""


class Inventory:
    """`clock` is monotonic."""

    def __init__(
        self,
        runtime: Runtime,
        store: Store,
        *,
        updates: Updates | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._runtime = runtime
        self._store = store
        self._updates = updates
        self._clock = clock
        self._listing = Listing(models=(), broken=())
        self._served: tuple[tuple[str, str], ...] = ()
        self._listed_at: float | None = None

    async def twin(self) -> dict[str, Any]:
        models = self._runtime.models()
        served = tuple((model.name, model.version) for model in models)
        now = self._clock()
        if self._listed_at is None or served != self._served or now - self._listed_at >= LIST_S:
            try:
                self._listing = await asyncio.to_thread(self._store.scan)
            except EdgeAgentError as error:
                _log.warning("the models on the disk are not known: %s", error)
            self._served, self._listed_at = served, now
        return models_twin(models, self._listing, self._updates.twin() if self._updates is not None else {})
