"""What telemetry needs of the link."""

from __future__ import annotations

from typing import Protocol

from agent.fleet.link.messages import Publication


class Publisher(Protocol):
    """`agent.fleet.link.link.Link` is one."""

    async def publish(self, publication: Publication) -> None:
        """Returns when the broker has confirmed it. Raises `NotConnectedError`, `TooLargeError`,
        `PublishRefusedError`."""
        ...

    def room_bytes(self, publication: Publication) -> int:
        """How long a payload this message could carry now."""
        ...
