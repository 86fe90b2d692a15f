"""Which subscriptions the broker has answered, and how. Pure, but for the client that they are sent with."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Final, Protocol

FILTERS_AT_ONCE: Final = 8
"""AWS IoT takes no more in one SUBSCRIBE."""
_FAILURE: Final = 0x80


class Subscriber(Protocol):
    """`agent.fleet.link.client.Client` is one."""

    def send_subscribe(self, filters: Sequence[str]) -> int | None: ...


class Subscribing:
    """`send` once, then `answered` with each SUBACK."""

    def __init__(self, filters: Sequence[str]) -> None:
        self.filters = tuple(filters)
        self._asked: dict[int, tuple[str, ...]] = {}
        """By the packet that is not answered yet."""
        self.refused: list[str] = []

    @property
    def pending(self) -> bool:
        return bool(self._asked)

    def send(self, client: Subscriber) -> None:
        for start in range(0, len(self.filters), FILTERS_AT_ONCE):
            filters = self.filters[start : start + FILTERS_AT_ONCE]
            packet_id = client.send_subscribe(filters)
            if packet_id is not None:
                self._asked[packet_id] = filters

    def answered(self, packet_id: int, reasons: Sequence[Any]) -> list[str]:
        """What was refused by this answer; an answer that is missing is a no. Nobody asked for other packets."""
        filters = self._asked.pop(packet_id, ())
        answers = itertools.zip_longest(filters, reasons[: len(filters)])
        refused = [filter for filter, reason in answers if reason is None or reason.value >= _FAILURE]
        self.refused += refused
        return refused
