"""A smart plug on the broker: one topic of another device, read for its watts and for nothing else."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Protocol

from agent.errors import RequestError
from agent.fleet.link.messages import Received
from agent.hardware.power.pushed import parse_payload

_log = logging.getLogger("agent.fleet.power")


class PowerReader(Protocol):
    """`agent.energy_side.Energy`."""

    def push(self, watts: float) -> None:
        """A reading. Raises `RequestError` for watts that cannot be."""


@dataclass
class PowerTopic:
    """`key` is where the watts are in the plug's JSON; None for a number alone, and for what usual plugs send."""

    topic: str
    key: str | None
    reader: PowerReader
    _said: bool = field(default=False, init=False)

    def take(self, received: Received) -> None:
        """Whatever comes on the topic. What is no reading is dropped, and said once: some plugs send other things on
        the same topic. So is what the broker had kept: nobody knows how old it is."""
        if received.retain:
            return
        try:
            self.reader.push(parse_payload(received.payload, self.key))
        except RequestError as error:
            if not self._said:
                _log.warning("power_topic %s: %s", self.topic, error)
        else:
            if not self._said:
                _log.info("power_topic %s: the first reading is there", self.topic)
        self._said = True
