"""One connection to one broker, as the event loop sees it: opened once, used, ended once. Its thread ends with it."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections.abc import Sequence
from typing import Final

from agent.errors import EdgeAgentError, NotConnectedError, TooLargeError
from agent.fleet.link.address import Address
from agent.fleet.link.credentials import Credentials
from agent.fleet.link.failure import Kind, LinkFailure
from agent.fleet.link.inbox import Inbox
from agent.fleet.link.messages import Protocol, Publication, Received
from agent.fleet.link.reports import Acknowledgement, Ended, Leave, Limits, Mailbox, Opened, Report, Sending, Settled
from agent.fleet.link.session import Session
from agent.fleet.link.settings import LinkSettings
from agent.fleet.link.waker import StoppedError, Waker

LEAVE_S: Final = 2.0
"""How long the last words may take."""
NAME_S: Final = 5.0
"""The search for a host's name cannot be broken off; after this time its thread is left to end by itself."""

_log = logging.getLogger("agent.fleet.link")
_numbers = itertools.count(1)


class Connection:
    """`open` once, before anything else; what it brings is put into `inbox` from `begin` on."""

    def __init__(
        self,
        settings: LinkSettings,
        address: Address,
        version: Protocol,
        credentials: Credentials,
        *,
        will: Publication | None,
        subscriptions: Sequence[str],
        inbox: Inbox,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.address = address
        self.version: Protocol = version
        self.credentials = credentials
        self.ended: asyncio.Future[LinkFailure] = loop.create_future()
        self._loop = loop
        self._number = next(_numbers)
        self._inbox = inbox
        self._opened: asyncio.Future[Opened] = loop.create_future()
        self._begun = False
        self._early: list[Received] = []
        self._limits = Limits(packet_bytes=0, in_flight=1)
        self._slots = (asyncio.Semaphore(settings.in_flight), asyncio.Semaphore(1))
        """By QoS. With 0 a message is done when it was handed to the system."""
        self.in_flight = 0
        self._waker = Waker()
        self._mailbox = Mailbox(loop, self._deliver)
        self._session = Session(
            settings,
            address,
            version,
            credentials,
            will=will,
            subscriptions=subscriptions,
            waker=self._waker,
            mailbox=self._mailbox,
            inbox=inbox,
            number=self._number,
        )
        self._thread = threading.Thread(target=self._run, name=f"mqtt-{self._number}", daemon=True)

    @property
    def packet_limit_bytes(self) -> int:
        return self._limits.packet_bytes

    @property
    def counts(self) -> Session:
        """Its messages and bytes so far."""
        return self._session

    async def open(self) -> Opened:
        """Connects and subscribes. Raises `LinkFailure`; cancelled, it leaves nothing behind."""
        self._thread.start()
        try:
            opened = await self._opened
        except asyncio.CancelledError:
            await self.abandon()
            raise
        self._limits = opened.limits
        self._slots = self._slots[0], asyncio.Semaphore(opened.limits.in_flight)
        return opened

    def begin(self) -> None:
        """Whoever reads the inbox knows of this connection now."""
        self._begun = True
        for received in self._early:
            self._inbox.put(received)
        self._early.clear()

    async def publish(self, publication: Publication) -> None:
        """Returns when the broker has confirmed it (QoS 1) or it was handed to the system (QoS 0).

        Raises `TooLargeError`, `NotConnectedError`, `PublishRefusedError`. Cancelled, it may have been sent or not.
        """
        if publication.packet_bytes > self._limits.packet_bytes:
            raise TooLargeError(
                f"A message of {publication.packet_bytes:,} bytes for {publication.topic} is larger than"
                f" {self._limits.packet_bytes:,} bytes, which is what this link or its broker takes."
            )
        qos = min(publication.qos, self._limits.qos)
        await self._slots[qos].acquire()
        if self.ended.done():
            self._slots[qos].release()
            raise not_connected(self.ended.result())
        sending = Sending(publication, qos, publication.retain and self._limits.retain, self._loop.create_future())
        self.in_flight += 1
        self._session.orders.append(sending)
        self._waker.wake()
        await sending.done

    def acknowledge(self, received: Received) -> None:
        """Nothing happens for a message of another connection: it comes again."""
        if received.connection == self._number and received.qos and not self.ended.done():
            self._session.orders.append(Acknowledgement(received.packet_id, received.qos))
            self._waker.wake()

    async def leave(self) -> None:
        """DISCONNECT, so that the broker keeps the last will to itself; then as `abandon`."""
        self._session.orders.append(Leave())
        self._waker.wake()
        await asyncio.wait([self.ended], timeout=LEAVE_S)
        await self.abandon()

    async def abandon(self) -> None:
        """Ends at once. When this returns the thread has ended, unless it is searching for a host's name."""
        self._waker.stop()
        await asyncio.wait([self.ended], timeout=NAME_S)
        if not self.ended.done():
            _log.warning("still searching for the name %s; that ends by itself", self.address.host)

    def _run(self) -> None:
        """The thread."""
        failure = LinkFailure(Kind.LOCAL, "the connection was closed on purpose")
        try:
            self._session.run()
        except StoppedError:
            pass
        except LinkFailure as found:
            failure = found
        except Exception:
            _log.exception("the connection to %s failed", self.address)
            failure = LinkFailure(Kind.PROTOCOL, "the broker sent something that could not be dealt with; see the log")
        finally:
            self._waker.close()
            self._mailbox.post(Ended(failure))

    def _deliver(self, report: Report) -> None:
        match report:
            case Received():
                if self._begun:
                    self._inbox.put(report)
                else:
                    self._early.append(report)
            case Settled():
                self._settle(report.sending, report.error)
            case Opened():
                if not self._opened.done():
                    self._opened.set_result(report)
            case Ended():
                self._end(report.failure)

    def _end(self, failure: LinkFailure) -> None:
        self._thread.join()  # it has nothing left to do
        self.ended.set_result(failure)
        for received in self._early:  # nobody takes them any more, and so they must not count as waiting
            self._inbox.forget(received)
        self._early.clear()
        if not self._opened.done():
            self._opened.set_exception(failure)
        for sending in self._session.unsettled():
            self._settle(sending, not_known(failure))

    def _settle(self, sending: Sending, error: EdgeAgentError | None) -> None:
        self.in_flight -= 1
        self._slots[sending.qos].release()
        if sending.done.done():
            return
        if error is None:
            sending.done.set_result(None)
        else:
            sending.done.set_exception(error)


def not_known(failure: LinkFailure) -> NotConnectedError:
    """For a message whose connection ended before it was confirmed."""
    return NotConnectedError(
        f"The broker did not confirm the message: {failure.reason}.", hint="It may have arrived; send it again."
    )


def not_connected(failure: LinkFailure | None = None) -> NotConnectedError:
    because = f": {failure.reason}" if failure else ""
    return NotConnectedError(f"No MQTT broker is connected{because}.", hint="Send it again when the link is up.")
