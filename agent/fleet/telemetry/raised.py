"""The alarms that are raised now, on retained topics: published when they change, and all of them on each connect."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from agent.fleet.link.messages import Publication
from agent.fleet.telemetry.publisher import Publisher
from agent.fleet.topics import Topics


class RaisedAlarms:
    """`names` are all that this device knows: those that are not raised are cleared, also what an earlier version or a
    database that was lost had left raised on the broker."""

    def __init__(self, topics: Topics, names: Collection[str]) -> None:
        self._topics = topics
        self._names = set(names)
        self._raised: dict[str, bytes] = {}
        self._unsaid: set[str] = set(names)

    @property
    def unsaid(self) -> bool:
        """Whether the broker does not know everything yet."""
        return bool(self._unsaid)

    def become(self, raised: Mapping[str, bytes]) -> None:
        """These, and no others, are raised, with what is published of them."""
        self._names |= raised.keys()
        self._unsaid |= {name for name in self._names if self._raised.get(name) != raised.get(name)}
        self._raised = dict(raised)

    def announce(self) -> None:
        """The broker may know nothing."""
        self._unsaid = set(self._names)

    async def publish(self, publisher: Publisher) -> None:
        """What is not said yet. Raises what `publish` of the link raises; what was not taken is still to be said."""
        for name in sorted(self._unsaid):
            payload = self._raised.get(name, b"")
            await publisher.publish(Publication(topic=self._topics.alarm(name), payload=payload, retain=True))
            if self._raised.get(name, b"") == payload:
                self._unsaid.discard(name)
