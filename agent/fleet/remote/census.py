"""Which devices the broker knows, right now."""

from __future__ import annotations

import asyncio
from typing import Final

from agent.fleet.link.settings import LinkSettings
from agent.fleet.remote.look import QUEUE, QUIET_S, look
from agent.fleet.remote.roster import FILTERS, Roster
from agent.fleet.topics import FleetTopics

IN_FLIGHT: Final = 64
"""More than a broker sends beyond its queue."""


async def take_census(settings: LinkSettings, fleet: FleetTopics, *, quiet_s: float = QUIET_S) -> tuple[Roster, bool]:
    """The devices, and whether that can have been all: false where as many came as a broker's queue holds.

    Raises `NotConnectedError`, `ForbiddenError`.
    """
    # Each has a connection of its own, and with it a queue of its own at the broker.
    looks = (look(settings, [fleet.filter(below)], root=fleet.root, quiet_s=quiet_s) for below in FILTERS)
    answers = await asyncio.gather(*looks, return_exceptions=True)
    roster = Roster(fleet)
    whole = True
    for found in answers:
        if isinstance(found, BaseException):
            raise found
        whole = whole and not QUEUE < len(found) <= QUEUE + IN_FLIGHT
        for received in found:
            roster.feed(received.topic, received.payload, oversized_bytes=received.oversized_bytes)
    return roster, whole and not roster.left_out
