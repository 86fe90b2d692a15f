"""One worker of a model: started, told what to load, and ended, with its account in the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from agent.runtime.budget import Tenant, anonymous_bytes
from agent.runtime.cell import Cell
from agent.runtime.faults import load_error
from agent.runtime.pace import Pace
from agent.runtime.session import Session
from agent.runtime.shared import Shared
from agent.runtime.spec import Limits, ModelSpec
from agent.runtime.wire.loading import Loaded, LoadFailed, LoadModel, Predicted, Proceed
from agent.runtime.wire.memory import Memory
from agent.runtime.worker import Exit, Worker, WorkerGoneError

M = TypeVar("M", Predicted, Loaded)


class LoadTooLongError(WorkerGoneError):
    """It was ended because its load took too long."""


class Episode:
    """`worker` is there while the process is; `session` from `Loaded` on."""

    def __init__(self, tenant: Tenant, spec: ModelSpec, *, shared: Shared, pace: Pace) -> None:
        self.worker: Worker | None = None
        self.session: Session | None = None
        self._tenant = tenant
        self._spec = spec
        self._shared = shared
        self._pace = pace
        self._cell: Cell | None = None

    @asynccontextmanager
    async def process(self) -> AsyncIterator[Worker]:
        """A worker without a model; nothing is left of it after. Raises `WorkerGoneError`."""
        shared, name = self._shared, self._spec.name
        worker = await Worker.spawn(shared.command, name, environment=shared.environment)
        self.worker = worker
        self._pace.started(worker)
        self._cell = shared.cells.open(name, worker.pid) if shared.cells is not None else None
        shared.budget.enter(self._tenant)
        try:
            yield worker
        finally:
            await worker.kill("not needed any more")
            self.worker = None
            self._pace.ended()
            if self._cell is not None:
                self._cell.close()
            shared.budget.leave(self._tenant)

    async def predict(self, worker: Worker, *, timeout_s: float) -> Memory:
        """What the model would take. Raises what keeps it from being loaded, and `WorkerGoneError`."""
        worker.send(LoadModel(name=self._spec.name, path=self._spec.path, options=self._spec.options))
        return (await self._answer(Predicted, worker, timeout_s)).memory

    async def load(self, worker: Worker, *, timeout_s: float) -> Loaded:
        """After `predict`, once there is room. Raises as that does."""
        worker.send(Proceed())
        loaded = await self._answer(Loaded, worker, timeout_s)
        budget = self._shared.budget
        budget.charge(self._tenant, loaded.memory)
        if self._cell is not None:
            self._cell.limit(budget.charged_bytes(self._tenant))
        return loaded

    async def serve(self, session: Session) -> None:
        """Until the model is to be unloaded, or has been idle for too long. Raises `WorkerGoneError`."""
        self.session = session
        self._pace.loaded(session)
        await session.serve()

    async def end(self, worker: Worker, limits: Limits) -> Exit:
        return await worker.shutdown(grace_s=limits.shutdown_grace_s, terminate_s=limits.terminate_grace_s)

    def held_bytes(self) -> int:
        """`Tenant.held_bytes`."""
        if self.worker is None:
            return 0
        anonymous = anonymous_bytes(self.worker.pid)
        if self.session is None:
            return anonymous or 0
        memory, stats = self.session.loaded.memory, self.session.stats
        gpu_bytes = stats.gpu_bytes if stats else memory.gpu_bytes
        if anonymous is not None:
            return anonymous + gpu_bytes
        resident_bytes = stats.resident_bytes if stats else memory.resident_bytes
        mapped_bytes = memory.weights_bytes if self._spec.options.mmap else 0
        return max(0, resident_bytes - mapped_bytes) + gpu_bytes

    async def _answer(self, kind: type[M], worker: Worker, timeout_s: float) -> M:
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    for message in await worker.receive():
                        if isinstance(message, kind):
                            return message
                        if isinstance(message, LoadFailed):
                            raise load_error(message.error)
        except TimeoutError:
            raise LoadTooLongError(await worker.kill(f"did not load within {timeout_s:g} s")) from None
