"""Which MQTT versions to try with which broker. Pure."""

from __future__ import annotations

from typing import Literal

from agent.fleet.link.address import Address
from agent.fleet.link.failure import Kind
from agent.fleet.link.messages import Protocol

SILENCES = 2
"""So many connections in a row that MQTT 5 got closed on without an answer count as a refusal."""


class Versions:
    """What was learned about each broker. It is forgotten with the process: brokers are updated too."""

    def __init__(self, wanted: Literal["auto", "5", "3.1.1"]) -> None:
        self._wanted = wanted
        self._old: set[Address] = set()
        self._silences: dict[Address, int] = {}

    def order(self, address: Address) -> tuple[Protocol, ...]:
        """Those to try at once, one after the other, as long as the broker refuses the version."""
        if self._wanted != "auto":
            return (self._wanted,)
        return ("3.1.1",) if address in self._old else ("5", "3.1.1")

    def failed(self, address: Address, version: Protocol, kind: Kind) -> bool:
        """Whether the next version is to be tried at once."""
        if version != "5":
            # It may have been closed for another reason: an old broker answers 3.1.1, a troubled one nothing.
            self._old.discard(address)
            return False
        if kind is Kind.SILENT:
            self._silences[address] = self._silences.get(address, 0) + 1
            return self._silences[address] >= SILENCES
        self._silences.pop(address, None)
        return kind is Kind.VERSION

    def worked(self, address: Address, version: Protocol) -> None:
        self._silences.pop(address, None)
        if version == "3.1.1" and self._wanted == "auto":
            self._old.add(address)
