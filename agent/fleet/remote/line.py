"""A link of the other side: with a client id of its own, and nothing that the broker would keep for it."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Final

from agent.errors import ForbiddenError, NotConnectedError
from agent.fleet.link.backoff import Pauses
from agent.fleet.link.link import Link
from agent.fleet.link.messages import Connected, Disconnected, Event, Received
from agent.fleet.link.settings import LinkSettings

PACKET_BYTES: Final = 1024 * 1024
"""The least that is taken: devices have their own limits, and these may be larger than ours."""
IN_FLIGHT: Final = 64
PAUSES: Final = Pauses(first_s=1.0, cap_s=15.0)
"""Somebody waits in front of it."""
AT_ONCE: Final = 32
"""So many messages are taken before others get their turn."""


def for_remote(settings: LinkSettings) -> LinkSettings:
    """The same broker and credentials, but another client: the device of these settings may be connected as well."""
    return replace(
        settings,
        client_id=f"edge-agent-fleet-{secrets.token_hex(6)}",
        session_expiry_s=0,
        pauses=PAUSES,
        max_packet_bytes=max(settings.max_packet_bytes, PACKET_BYTES),
        in_flight=max(settings.in_flight, IN_FLIGHT),
    )


@contextlib.asynccontextmanager
async def connecting(settings: LinkSettings, subscriptions: Sequence[str]) -> AsyncIterator[Link]:
    """A running link, without a last will: nobody misses it."""
    link = Link(settings, will=None, subscriptions=subscriptions)
    running = asyncio.create_task(link.run(), name="link")
    try:
        yield link
    finally:
        try:
            await link.close()
        finally:
            running.cancel()
            await asyncio.wait([running])


async def messages(link: Link) -> AsyncIterator[Event]:
    """What happens on it; a message is acknowledged when the next one is asked for.

    Raises `NotConnectedError` where the first attempt fails: nobody wants to wait for a name that is misspelt. Later
    ones are made until it works. Raises `ForbiddenError` for a subscription that the broker refuses.
    """
    connected = False
    count = 0
    async for event in link.events():
        if isinstance(event, Connected):
            connected = True
            if event.refused:
                raise ForbiddenError(
                    f"The broker does not let this user read {event.refused[0]}.",
                    hint="Its list of rights must allow it, also to who sends commands.",
                )
        elif isinstance(event, Disconnected) and not connected:
            raise NotConnectedError(f"No MQTT broker: {event.reason}.")
        yield event
        if isinstance(event, Received):
            link.acknowledge(event)
            count += 1
            if count % AT_ONCE == 0:
                await asyncio.sleep(0)
