"""An updater that runs on a site, and what a test waits for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

from agent.updates.policy import Terms
from agent.updates.record import Record
from agent.updates.states import State
from agent.updates.updater import Updater
from tests.updates.local import Site

WAIT_S = 20.0
LONG = {"probation_s": 3600.0}


@contextlib.asynccontextmanager
async def running(site: Site, **changes: Any) -> AsyncIterator[Updater]:
    async with driven(site.updater(**changes)) as updater:
        yield updater


@contextlib.asynccontextmanager
async def driven(updater: Updater) -> AsyncIterator[Updater]:
    """While it runs."""
    task = asyncio.create_task(updater.run())
    try:
        yield updater
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def on(site: Site, work: Callable[[Updater], Awaitable[Any]], **changes: Any) -> Any:
    async def all() -> Any:
        async with running(site, **changes) as updater:
            return await work(updater)

    return asyncio.run(all())


async def until(updater: Updater, good: Callable[[], Any], timeout_s: float = WAIT_S) -> None:
    async with asyncio.timeout(timeout_s):
        while not good():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def last(updater: Updater) -> Record:
    """The newest update."""
    return max((*updater.snapshot().records, *updater.snapshot().ended), key=lambda one: one.id)


async def end(updater: Updater, timeout_s: float = WAIT_S) -> Record:
    await until(updater, lambda: updater.opened and not updater.snapshot().records, timeout_s)
    return last(updater)


async def reached(updater: Updater, state: State, timeout_s: float = WAIT_S) -> Record:
    await until(updater, lambda: last(updater).state is state, timeout_s)
    return last(updater)


async def waiting(updater: Updater, words: str) -> None:
    await until(updater, lambda: any(words in why for why in updater.snapshot().waits.values()))


def limits(site: Site, **changes: Any) -> None:
    site.policy = replace(site.policy, limits=replace(site.policy.limits, **changes))


def wish(site: Site, version: str | None = "2", **terms: Any) -> Record:
    """Asks, and waits for the end."""

    async def work(updater: Updater) -> Record:
        await updater.update("m", version, origin="person", terms=Terms(**terms))
        return await end(updater)

    found: Record = on(site, work)
    return found
