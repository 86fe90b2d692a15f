"""A consumer of telemetry that looks at `seq` as docs/mqtt.md tells it to."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from agent.errors import EdgeAgentError
from agent.fleet.link.link import Link
from agent.fleet.link.messages import Publication, Received
from agent.fleet.topics import Topics


class Consumer:
    """Says on `P/ack` what it has. `numbers` are the samples' `n` by type, in the order in which they came; `twice`
    counts those that `seq` showed to be known, `gaps` are sentences."""

    def __init__(self, link: Link, topics: Topics) -> None:
        self.link = link
        self.numbers: dict[str, list[int]] = {}
        self.twice = 0
        self.gaps: list[str] = []
        self._topics = topics
        self._next: dict[tuple[str, str], int] = {}

    async def run(self) -> None:
        async for event in self.link.events():
            if isinstance(event, Received):
                await self._take(event.topic.rpartition("/")[2], json.loads(event.payload))
                self.link.acknowledge(event)

    async def _take(self, type: str, message: dict[str, Any]) -> None:
        key, first, samples = (type, message["log"]), message["seq"], message["samples"]
        expected = self._next.get(key, 1)
        if first > expected + message.get("missing", 0):
            self.gaps.append(f"{type}: {first} after {expected - 1}")
        seen = max(0, expected - first)
        self.twice += min(seen, len(samples))
        self.numbers.setdefault(type, []).extend(sample["n"] for sample in samples[seen:])
        self._next[key] = max(expected, first + len(samples))
        word = json.dumps({"type": type, "seq": self._next[key] - 1, "log": message["log"]})
        with contextlib.suppress(EdgeAgentError):  # what is not acknowledged comes again
            await self.link.publish(Publication(topic=self._topics.acknowledgement, payload=word.encode()))
