"""What was announced where, on the disk: what is not announced any more can be cleared, by whatever start comes next.

A topic is written down before it is first published, and crossed out after it was cleared.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from pathlib import Path
from typing import Final

import msgspec

from agent.store.durable import Filesystem, read_start

BROKERS: Final = 8
SERVICES: Final = 8
"""So many names that the device once had are remembered for a broker."""
_FILE_BYTES: Final = 4 * 1024 * 1024

Services = dict[str, list[str]]
"""Topics by the service (P) that they were announced for."""

_log = logging.getLogger("agent.fleet.announce")
_decoder = msgspec.json.Decoder(dict[str, Services])


class Record:
    """`{broker: {P: [topic, ...]}}` in one file. A disk that does not work costs the memory, not the announcements."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._brokers = self._read()
        self._complained = False

    def topics(self, broker: str, service: str) -> frozenset[str]:
        return frozenset(self._brokers.get(broker, {}).get(service, ()))

    def others(self, broker: str, service: str) -> tuple[str, ...]:
        """What this device was called before, at this broker, and is not now."""
        return tuple(name for name in self._brokers.get(broker, {}) if name != service)

    def services(self) -> frozenset[str]:
        """All names that this device ever had, as far as they were not cleared."""
        return frozenset(name for services in self._brokers.values() for name in services)

    async def add(self, broker: str, service: str, topics: Collection[str]) -> None:
        known = self.topics(broker, service)
        if not known.issuperset(topics):
            await self._write(broker, service, known.union(topics))

    async def cross_out(self, broker: str, service: str, topics: Collection[str]) -> None:
        known = self.topics(broker, service)
        if not known.isdisjoint(topics):
            await self._write(broker, service, known.difference(topics))

    async def _write(self, broker: str, service: str, topics: frozenset[str]) -> None:
        services = self._brokers.pop(broker, {})
        services.pop(service, None)
        if topics:
            services[service] = sorted(topics)  # what was used last stands last
        self._brokers[broker] = dict(list(services.items())[-SERVICES:])
        self._brokers = {name: kept for name, kept in list(self._brokers.items())[-BROKERS:] if kept}
        data = msgspec.json.format(msgspec.json.encode(self._brokers), indent=1)
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

    def _read(self) -> dict[str, Services]:
        try:
            return _decoder.decode(read_start(self._path, _FILE_BYTES))
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            _log.warning("%s cannot be read (%s); old announcements may stay on the broker", self._path, error)
            return {}
