"""What was announced where, on the disk: what is not announced any more can be cleared, by whatever start comes next.

A topic is written down before it is first published, and crossed out after it was cleared.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

import msgspec

from agent.store.durable import Filesystem, read_start

BROKERS: Final = 8
SERVICES: Final = 8
"""So many names that the device once had are remembered for a broker."""
ENTITIES: Final = 256
_FILE_BYTES: Final = 4 * 1024 * 1024

_log = logging.getLogger("agent.fleet.announce")


class Announced(msgspec.Struct):
    """`topics` by broker and by the service (P) that they were announced for; `entities` of Home Assistant by service
    and key, with their platforms: also those that are gone."""

    topics: dict[str, dict[str, list[str]]] = {}
    entities: dict[str, dict[str, str]] = {}


class Record:
    """One file. A disk that does not work costs the memory, not the announcements."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._announced = self._read()
        self._complained = False

    def topics(self, broker: str, service: str) -> frozenset[str]:
        return frozenset(self._announced.topics.get(broker, {}).get(service, ()))

    def others(self, broker: str, service: str) -> tuple[str, ...]:
        """What this device was called before, at this broker, and is not now."""
        return tuple(name for name in self._announced.topics.get(broker, {}) if name != service)

    def services(self) -> frozenset[str]:
        """All names that this device ever had, as far as they were not cleared."""
        return frozenset(name for services in self._announced.topics.values() for name in services)

    def entities(self, service: str) -> dict[str, str]:
        return dict(self._announced.entities.get(service, {}))

    async def add(self, broker: str, service: str, topics: Collection[str]) -> None:
        known = self.topics(broker, service)
        if not known.issuperset(topics):
            await self._change(broker, service, known.union(topics))

    async def cross_out(self, broker: str, service: str, topics: Collection[str]) -> None:
        known = self.topics(broker, service)
        if not known.isdisjoint(topics):
            await self._change(broker, service, known.difference(topics))

    async def remember_entities(self, service: str, platforms: Mapping[str, str]) -> None:
        known = self.entities(service)
        if not known.items() >= platforms.items():
            kept = {key: platform for key, platform in known.items() if key not in platforms}
            newest = [*kept.items(), *platforms.items()][-ENTITIES:]
            self._announced.entities[service] = dict(newest)
            await self._write()

    async def _change(self, broker: str, service: str, topics: frozenset[str]) -> None:
        """What was used last stands last."""
        announced = self._announced
        services = announced.topics.pop(broker, {})
        services.pop(service, None)
        if topics:
            services[service] = sorted(topics)
        announced.topics[broker] = dict(list(services.items())[-SERVICES:])
        announced.topics = {name: kept for name, kept in list(announced.topics.items())[-BROKERS:] if kept}
        known = self.services()
        announced.entities = {name: kept for name, kept in announced.entities.items() if name in known}
        await self._write()

    async def _write(self) -> None:
        data = msgspec.json.format(msgspec.json.encode(self._announced), indent=1)
        try:
            await asyncio.to_thread(self._save, data)
        except OSError as error:
            level = logging.DEBUG if self._complained else logging.WARNING
            self._complained = True
            _log.log(level, "%s: %s; old announcements may stay on the broker", self._path, error.strerror)

    def _save(self, data: bytes) -> None:
        temporary = self._path.with_suffix(".new")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        Filesystem().replace_file(self._path, data, temporary=temporary)

    def _read(self) -> Announced:
        try:
            return msgspec.json.decode(read_start(self._path, _FILE_BYTES), type=Announced)
        except FileNotFoundError:
            pass
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            _log.warning("%s cannot be read (%s); old announcements may stay on the broker", self._path, error)
        return Announced()
