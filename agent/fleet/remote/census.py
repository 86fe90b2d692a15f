"""Which devices the broker knows, right now."""

from __future__ import annotations

import asyncio
from typing import Final

from agent.fleet.link.settings import LinkSettings
from agent.fleet.remote.look import QUIET_S, look
from agent.fleet.remote.roster import FILTERS, Roster
from agent.fleet.topics import FleetTopics

ROOM: Final = 1000
"""mosquitto and EMQX hold so many messages for one client at least, unless they are told to hold fewer."""


async def take_census(settings: LinkSettings, fleet: FleetTopics, *, quiet_s: float = QUIET_S) -> tuple[Roster, bool]:
    """The devices, and whether that can have been all: false where many came, and of some only a part.

    Raises `NotConnectedError`, `ForbiddenError`.
    """
    # Each has a connection of its own, and with it a queue of its own at the broker.
    looks = (look(settings, [fleet.filter(below)], quiet_s=quiet_s) for below in FILTERS)
    answers = await asyncio.gather(*looks, return_exceptions=True)
    roster = Roster(fleet)
    for found in answers:
        if isinstance(found, BaseException):
            raise found
        for received in found:
            roster.feed(received.topic, received.payload, oversized_bytes=received.oversized_bytes)
    counts = [len(found) for found in answers if not isinstance(found, BaseException)]
    return roster, (max(counts) <= ROOM or min(counts) == max(counts)) and not roster.left_out
