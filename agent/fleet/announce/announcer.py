"""Keeps what lies on the broker as it should be: all of it after each connect, then only what changes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final, Protocol

from agent.errors import EdgeAgentError, NotConnectedError, PublishRefusedError
from agent.fleet.announce.about import About
from agent.fleet.announce.contents import contents, registration
from agent.fleet.announce.health import health, is_down
from agent.fleet.announce.homeassistant import platforms
from agent.fleet.announce.models import Twin
from agent.fleet.announce.record import Record
from agent.fleet.announce.sensors import ALARMS
from agent.fleet.link.messages import Connected, Publication, Received
from agent.fleet.topics import Topics

LOOK_S: Final = 5.0
"""How often the models are looked at while a broker is there."""
RETRY_S: Final = 60.0
"""After the broker has said no to something, for now."""
HEALTH: Final = "/status/health"

_log = logging.getLogger("agent.fleet.announce")


class Publisher(Protocol):
    """`agent.fleet.link.link.Link` is one."""

    async def publish(self, publication: Publication) -> None:
        """Returns when the broker has it. Raises `EdgeAgentError`; `NotConnectedError` where there is none."""


class Models(Protocol):
    """`agent.fleet.announce.inventory.Inventory` is one."""

    async def twin(self) -> Twin:
        """What `P/twin/model` should say now."""


class Raised(Protocol):
    @property
    def raised(self) -> Collection[str]: ...


class Alarms(Protocol):
    """`agent.fleet.telemetry.telemetry.Telemetry` is one."""

    @property
    def state(self) -> Raised: ...


def watched(record: Record, topics: Topics) -> tuple[str, ...]:
    """Topics to subscribe to: is anybody there who is called as this device was once?"""
    return tuple(service + HEALTH for service in sorted(record.services() - {topics.service}))


class Announcer:
    """`connected` and `disconnected` with the link's events; `seen` for what comes on `watched`; `run` in a task.

    `home_assistant` is the discovery prefix, None for none; `readable` as for `contents`. `wall` gives Unix time.
    """

    def __init__(
        self,
        link: Publisher,
        topics: Topics,
        about: About,
        *,
        capabilities: Mapping[str, Mapping[str, Any]],
        models: Models,
        record: Record,
        alarms: Alarms | None = None,
        home_assistant: str | None = None,
        readable: bool = True,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._link = link
        self._topics = topics
        self._about = about
        self._capabilities = capabilities
        self._models = models
        self._record = record
        self._home_assistant = home_assistant
        self._alarms = alarms
        self._readable = readable
        self._wall = wall
        self._broker: str | None = None
        self._connection = 0
        self._said: dict[str, bytes] = {}
        """What the broker has confirmed on this connection."""
        self._refused: set[str] = set()
        self._health_due = False
        self._gone: set[str] = set()
        """Names that this device had, and that nobody uses now."""
        self._wake = asyncio.Event()
        self.begun = self.done = 0
        """How often everything was gone through."""

    def connected(self, event: Connected) -> None:
        """The broker may know nothing, or may have published the last will in the meantime."""
        self._broker = event.broker
        self._connection += 1
        self._said = {}
        self._refused = set()
        self._gone = set()
        self._health_due = True
        self._wake.set()

    def disconnected(self) -> None:
        self._broker = None

    def seen(self, received: Received) -> None:
        """A message on one of `watched`. Only what nobody stands behind any more is cleared: the name may be another
        device's by now."""
        service = received.topic.removesuffix(HEALTH)
        known = self._record.others(self._broker, self._topics.service) if self._broker else ()
        if service in known and is_down(received.payload):
            self._gone.add(service)
            self._wake.set()

    def say_health(self) -> None:
        """Somebody asks for it."""
        self._health_due = True
        self._wake.set()

    def look(self) -> None:
        """The models may have changed."""
        self._wake.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            self._wake.clear()
            self.begun += 1
            wait_s = None if self._broker is None else await self._bring(self._broker)
            self.done += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()

    async def _bring(self, broker: str) -> float | None:
        """Makes the broker's picture ours; in how many seconds to look again."""
        connection = self._connection
        try:
            await self._say(broker, registration(self._topics, self._about))
            if self._health_due:
                await self._link.publish(health(self._topics, self._about, "up", self._wall()))
                self._health_due = connection != self._connection
                await self._record.add(broker, self._topics.service, [self._topics.health])
            wanted = contents(
                self._topics,
                self._about,
                capabilities=self._capabilities,
                twin=await self._models.twin(),
                raised=self._alarms.state.raised if self._alarms is not None else None,
                home_assistant=self._home_assistant,
                readable=self._readable,
                former=self._record.entities(self._topics.service),
            )
            await self._remember_entities(wanted)
            await self._say(broker, wanted)
            await self._clear_stale(broker, wanted)
            await self._clear_gone(broker)
        except NotConnectedError:
            return None  # the next connect begins anew
        except EdgeAgentError as error:
            _log.warning("not everything could be announced: %s", error)
            return RETRY_S
        return LOOK_S

    async def _say(self, broker: str, wanted: Mapping[str, bytes]) -> None:
        """Publishes what the broker does not have yet, all at once: the link counts what is in flight."""
        connection = self._connection
        fresh = {
            topic: payload
            for topic, payload in wanted.items()
            if self._said.get(topic) != payload and topic not in self._refused
        }
        await self._record.add(broker, self._topics.service, fresh)

        async def one(topic: str, payload: bytes) -> None:
            await self._publish(Publication(topic=topic, payload=payload, retain=True))
            if connection == self._connection:
                self._said[topic] = payload

        await _all(one(topic, payload) for topic, payload in fresh.items())

    async def _remember_entities(self, wanted: Mapping[str, bytes]) -> None:
        if self._home_assistant is not None:
            topic = self._topics.home_assistant(self._home_assistant)
            if self._said.get(topic) != wanted[topic]:
                await self._record.remember_entities(self._topics.service, platforms(wanted[topic]))

    async def _clear_stale(self, broker: str, wanted: Mapping[str, bytes]) -> None:
        """Of this device: what it no longer announces."""
        service = self._topics.service
        stale = self._record.topics(broker, service) - wanted.keys() - {self._topics.health}
        await self._clear(broker, service, stale)
        for topic in stale:
            self._said.pop(topic, None)

    async def _clear_gone(self, broker: str) -> None:
        """Of names that this device had before. The health comes last: as long as it lies there, this is not done."""
        for service in sorted(self._gone):
            alarms = {f"{service}/a/{name}" for name in ALARMS}
            topics = self._record.topics(broker, service)
            await self._clear(broker, service, (topics | alarms) - {service + HEALTH})
            await self._clear(broker, service, {service + HEALTH})
            self._gone.discard(service)
            _log.info("what was announced for %s before was cleared", service)

    async def _clear(self, broker: str, service: str, topics: Iterable[str]) -> None:
        topics = sorted(topics)
        await _all(self._publish(Publication(topic=topic, retain=True)) for topic in topics)
        await self._record.cross_out(broker, service, topics)

    async def _publish(self, publication: Publication) -> None:
        """Raises `NotConnectedError`, and `PublishRefusedError` where it may be taken later."""
        try:
            await self._link.publish(publication)
        except NotConnectedError:
            raise
        except EdgeAgentError as error:
            if isinstance(error, PublishRefusedError) and error.temporary:
                raise
            self._refused.add(publication.topic)
            _log.warning("%s was not announced: %s", publication.topic, error)


async def _all(work: Iterable[Any]) -> None:
    """Everything is tried; then the first failure is raised."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
