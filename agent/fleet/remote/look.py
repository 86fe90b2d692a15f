"""What the broker keeps: the retained messages of some topics, as they are now."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from agent.fleet.link.messages import Connected, Received
from agent.fleet.link.settings import LinkSettings
from agent.fleet.remote.line import connecting, for_remote, messages

QUIET_S: Final = 1.0
"""MQTT does not say when all retained messages have come. When none came for so long, that was all."""
LIMIT_S: Final = 60.0
MESSAGE_BYTES: Final = 256 * 1024
ALL_BYTES: Final = 256 * 1024 * 1024


async def look(
    settings: LinkSettings, filters: Sequence[str], *, quiet_s: float = QUIET_S, limit_s: float = LIMIT_S
) -> list[Received]:
    """By a connection of its own, and with QoS 0: brokers hold a thousand messages of QoS 1 for one client and drop the
    rest, but send those of QoS 0 on as fast as the line takes them.

    Raises `NotConnectedError`, `ForbiddenError`.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + limit_s
    found: list[Received] = []
    size_bytes = 0
    async with connecting(replace(for_remote(settings), subscription_qos=0), filters) as link:
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
