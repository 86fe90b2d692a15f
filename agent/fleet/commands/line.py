"""What the commands need of the link."""

from __future__ import annotations

from typing import Protocol

from agent.fleet.link.messages import Publication, Received


class Line(Protocol):
    """`agent.fleet.link.link.Link` satisfies it."""

    async def publish(self, publication: Publication) -> None:
        """Returns when the broker has it. Raises `NotConnectedError`, `TooLargeError`, `PublishRefusedError`."""

    def acknowledge(self, received: Received) -> None:
        """The broker may forget it."""

    def room_bytes(self, publication: Publication) -> int:
        """How long its payload may be; 0 while nothing is connected."""
