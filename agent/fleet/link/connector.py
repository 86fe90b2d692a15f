"""From the settings to a connection: which broker, with which credentials, in which version, until one works."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from agent.fleet.link.address import Address
from agent.fleet.link.credentials import Credentials, Fingerprint, fingerprint, load
from agent.fleet.link.failure import CREDENTIALS, FUTILE, Kind, LinkFailure
from agent.fleet.link.inbox import Inbox
from agent.fleet.link.messages import Protocol, Publication
from agent.fleet.link.settings import LinkSettings
from agent.fleet.link.versions import Versions

if TYPE_CHECKING:
    from agent.fleet.link.connection import Connection
    from agent.fleet.link.reports import Opened

    Established = tuple[Connection, Opened]


class Connector:
    """Remembers what worked. Its methods can be cancelled at any moment and leave nothing behind."""

    def __init__(
        self, settings: LinkSettings, *, will: Publication | None, subscriptions: Sequence[str], inbox: Inbox
    ) -> None:
        self._settings = settings
        self._will = will
        self._subscriptions = subscriptions
        self._inbox = inbox
        self._versions = Versions(settings.protocol)
        self._loaded: Credentials | None = None
        """As the files were when they were read last."""
        self._good: Credentials | None = None
        """With which the last connection came about."""
        self._tried: Fingerprint = ()
        self.attempts_failed = 0

    async def connect(self) -> Established:
        """Each broker once, in order. Raises `LinkFailure` with the reasons of all."""
        failures: list[LinkFailure] = []
        for address in self._settings.brokers:
            try:
                return await self._connect_to(address)
            except LinkFailure as failure:
                self.attempts_failed += 1
                failures.append(failure)
        if len(failures) == 1:
            raise failures[0]
        pairs = zip(self._settings.brokers, failures, strict=True)
        reasons = "; ".join(f"{address}: {failure.reason}" for address, failure in pairs)
        hopeful = [failure.kind for failure in failures if failure.kind not in FUTILE]
        raise LinkFailure(hopeful[0] if hopeful else Kind.REFUSED, reasons)

    async def renew(self, connection: Connection) -> Established:
        """A second connection to the same broker, with the files as they are now. Raises `LinkFailure`."""
        try:
            self._loaded = await asyncio.to_thread(load, self._settings)
            return await self._open(connection.address, connection.version, self._loaded)
        except LinkFailure:
            self._loaded = None
            raise

    async def changed(self) -> bool:
        """Whether the files are others than those that were tried last."""
        return await self.look() != self._tried

    async def look(self) -> Fingerprint:
        """The files as they are now; different after any change."""
        return await asyncio.to_thread(fingerprint, self._settings.files) if self._settings.files else ()

    async def _connect_to(self, address: Address) -> Established:
        """With what is on the disk; where that is not accepted, with what was accepted before."""
        good = self._good
        try:
            return await self._with_any_version(address, await self._from_files())
        except LinkFailure as failure:
            if failure.kind not in CREDENTIALS:
                raise
            tried, self._loaded = self._loaded, None  # read again next time: authorities of the system change too
            if good is None or good is tried or not self._settings.files:
                raise
            try:
                return await self._with_any_version(address, good)
            except LinkFailure:
                raise failure from None

    async def _from_files(self) -> Credentials:
        self._tried = await self.look()
        if self._loaded is None or self._loaded.fingerprint != self._tried:
            self._loaded = await asyncio.to_thread(load, self._settings)
        return self._loaded

    async def _with_any_version(self, address: Address, credentials: Credentials) -> Established:
        *others, last = self._versions.order(address)
        for version in others:
            try:
                return await self._open(address, version, credentials)
            except LinkFailure as failure:
                if not self._versions.failed(address, version, failure.kind):
                    raise
        try:
            return await self._open(address, last, credentials)
        except LinkFailure as failure:
            self._versions.failed(address, last, failure.kind)
            raise

    async def _open(self, address: Address, version: Protocol, credentials: Credentials) -> Established:
        from agent.fleet.link.connection import Connection  # and with it the MQTT library

        connection = Connection(
            self._settings,
            address,
            version,
            credentials,
            will=self._will,
            subscriptions=self._subscriptions,
            inbox=self._inbox,
        )
        opened = await connection.open()
        self._versions.worked(address, version)
        self._good = credentials
        return connection, opened
