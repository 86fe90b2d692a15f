"""Tasks of which none can take the daemon down."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

_log = logging.getLogger("agent.fleet.commands")


class Crew:
    """`async with Crew() as crew: crew.start(work())`. What a task raises is logged; leaving waits for all of them,
    and cancels them first where the wait itself is cancelled."""

    def __init__(self) -> None:
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> Crew:
        await self._group.__aenter__()
        return self

    async def __aexit__(self, *details: Any) -> None:
        await self._group.__aexit__(*details)

    def start(self, work: Coroutine[Any, Any, None], name: str | None = None) -> asyncio.Task[None]:
        return self._group.create_task(_guarded(work), name=name)


async def _guarded(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except Exception:
        _log.exception("a task of the commands failed")
