"""Asking an engine that may be full or may have crashed, for work that exists only here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from agent.errors import QueueFullError, WorkerCrashedError

CRASH_RETRIES = 1

Answer = TypeVar("Answer")


async def patiently(ask: Callable[[], Awaitable[Answer]], max_refused_s: float) -> Answer:
    """The answer to `ask`. A full queue is waited for, for at most `max_refused_s`; after a crash it asks once more.

    Raises the last `QueueFullError` or `WorkerCrashedError`, and whatever else `ask` raises.
    """
    loop = asyncio.get_running_loop()
    started, crashes = loop.time(), 0
    while True:
        try:
            return await ask()
        except QueueFullError as error:
            if loop.time() - started + error.retry_after_s > max_refused_s:
                raise
            await asyncio.sleep(error.retry_after_s)
        except WorkerCrashedError:
            crashes += 1
            if crashes > CRASH_RETRIES:
                raise
