"""A real runtime over scripted worker processes, with timings short enough for tests."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent.runtime.cell import Cells
from agent.runtime.service import Limits, ModelSpec, Runtime, Stream
from agent.runtime.snapshot import ModelSnapshot
from agent.runtime.wire.embedding import Embedded
from agent.runtime.wire.generation import Delta, Finished, Generate
from agent.runtime.wire.options import LlamaOptions

REPOSITORY = Path(__file__).resolve().parents[2]
COMMAND = (sys.executable, str(Path(__file__).with_name("scripted_worker.py")))
ENVIRONMENT = {"PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}

QUICK = Limits(
    heartbeat_s=0.05,
    heartbeat_timeout_s=0.5,
    hang_timeout_s=0.4,
    backoff_first_s=(0.01, 0.02, 0.03),
    backoff_cap_s=0.1,
    yield_after_s=0.1,
    load_retry_s=0.3,
    quiet_wait_s=0.2,
    shutdown_grace_s=0.5,
    terminate_grace_s=0.2,
)


@asynccontextmanager
async def runtime_of(
    *specs: ModelSpec,
    budget_bytes: int = 10_000,
    command: tuple[str, ...] = COMMAND,
    cells: Cells | None = None,
    **limits: Any,
) -> AsyncIterator[Runtime]:
    """A running runtime; afterwards it is stopped, and nothing of it may be left."""
    runtime = Runtime(
        replace(QUICK, **limits),
        memory=lambda held_bytes: budget_bytes,
        worker_command=command,
        environment=ENVIRONMENT,
        cells=cells,
    )
    runtime.set_models(specs)
    task = asyncio.create_task(runtime.run())
    await asyncio.sleep(0)
    try:
        yield runtime
    finally:
        await runtime.stop(grace_s=0)
        await asyncio.wait_for(task, 5)


def model(name: str = "m", path: str = "", *, slots: int = 2, **fields: Any) -> ModelSpec:
    spec: dict[str, Any] = {
        "name": name,
        "version": "1",
        "task": "generate",
        "path": path,
        "options": LlamaOptions(slots=slots, embedding=fields.get("task") == "embed"),
    }
    return ModelSpec(**(spec | fields))


def ask(runtime: Runtime, prompt: str = "", *, name: str = "m", client: str = "c", n: int = 1, **extra: Any) -> Stream:
    return runtime.submit(name, Generate(prompt=prompt, n=n), client=client, **extra)


async def text_of(stream: Stream) -> str:
    """All of a stream's text; raises what the stream raises."""
    parts: list[str] = []
    async for events in stream:
        parts += [event.text for event in events if isinstance(event, Delta)]
    return "".join(parts)


async def kinds_of(stream: Stream) -> list[str]:
    names: list[str] = []
    async for events in stream:
        assert events
        names += [type(event).__name__ for event in events]
        assert all(isinstance(event, Delta | Finished | Embedded) for event in events)
    return names


def state_of(runtime: Runtime, name: str = "m") -> ModelSnapshot:
    return next(each for each in runtime.snapshot().models if each.name == name)


async def until(condition: Callable[[], object], timeout_s: float = 30.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def ended(awaitable: Awaitable[Any]) -> Any:
    """The result or the exception, whichever it is, within half a minute."""
    try:
        return await asyncio.wait_for(awaitable, 30)
    except Exception as error:
        return error
