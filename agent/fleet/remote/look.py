"""What the broker keeps: the retained messages of some topics, as they are now."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from agent.fleet.link.messages import Connected, Received
from agent.fleet.link.settings import LinkSettings
from agent.fleet.remote.line import connecting, for_remote, messages

QUIET_S: Final = 1.0
"""MQTT does not say when all retained messages have come. When none came for so long, that was all."""
LIMIT_S: Final = 60.0
MESSAGE_BYTES: Final = 256 * 1024
ALL_BYTES: Final = 256 * 1024 * 1024
QUEUE: Final = 1000
"""mosquitto and EMQX queue no more for one client unless they are told to, and drop the rest."""


async def look(
    settings: LinkSettings, filters: Sequence[str], *, root: str, quiet_s: float = QUIET_S, limit_s: float = LIMIT_S
) -> list[Received]:
    """By a connection of its own. Raises `NotConnectedError`, `ForbiddenError`."""
    loop = asyncio.get_running_loop()
    end = loop.time() + limit_s
    found: list[Received] = []
    size_bytes = 0
    async with connecting(for_remote(settings), filters, root=root) as link:
        try:
            async with asyncio.timeout_at(None) as patience:
                async for event in messages(link):
                    if isinstance(event, Connected) or (isinstance(event, Received) and event.retain):
                        patience.reschedule(min(end, loop.time() + quiet_s))
                    if not isinstance(event, Received) or not event.retain or event.size_bytes > MESSAGE_BYTES:
                        continue
                    size_bytes += event.size_bytes
                    if size_bytes > ALL_BYTES:
                        break
                    found.append(event)
        except TimeoutError:
            pass
    return found
