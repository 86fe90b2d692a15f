"""One connection's life, in a thread of its own: dial, CONNECT, subscribe, messages both ways, until it ends."""

from __future__ import annotations

import functools
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from agent.errors import EdgeAgentError, PublishRefusedError
from agent.fleet.link.address import Address
from agent.fleet.link.client import (
    CONNECTION_LOST,
    PROTOCOL_ERROR,
    SUCCESS,
    Client,
    code_of,
    limit_of,
    received_of,
    without_payload,
)
from agent.fleet.link.credentials import Credentials
from agent.fleet.link.dial import dial
from agent.fleet.link.failure import TEMPORARY, Kind, LinkFailure, of_code, of_error
from agent.fleet.link.inbox import Inbox
from agent.fleet.link.inspector import Inspector
from agent.fleet.link.messages import Protocol, Publication, Received
from agent.fleet.link.reports import Acknowledgement, Leave, Limits, Mailbox, Opened, Order, Sending, Settled
from agent.fleet.link.settings import LinkSettings
from agent.fleet.link.stream import Stream
from agent.fleet.link.subscribing import Subscribing
from agent.fleet.link.waker import StoppedError, Waker
from agent.fleet.topics import matches

FULL_PAUSE_S: Final = 0.02
FULL_READ_BYTES: Final = 64 * 1024

_log = logging.getLogger("agent.fleet.link")


def _guarded(function: Callable[..., None]) -> Callable[..., None]:
    """A callback of the library: what it raises ends this connection, with a reason."""

    @functools.wraps(function)
    def guarded(self: Session, *arguments: Any) -> None:
        try:
            function(self, *arguments)
        except LinkFailure as failure:
            self.verdict = self.verdict or failure
        except UnicodeDecodeError:
            self.verdict = self.verdict or LinkFailure(Kind.PROTOCOL, "the broker sent a text that is not UTF-8")
        except Exception:
            _log.exception("%s failed", function.__name__)
            self.verdict = self.verdict or LinkFailure(Kind.LOCAL, "something went wrong inside the link; see the log")

    return guarded


class Session:
    """`run` in the thread; `orders` is filled by the event loop, which then wakes the waker."""

    def __init__(
        self,
        settings: LinkSettings,
        address: Address,
        version: Protocol,
        credentials: Credentials,
        *,
        will: Publication | None,
        subscriptions: Sequence[str],
        waker: Waker,
        mailbox: Mailbox,
        inbox: Inbox,
        number: int,
    ) -> None:
        self._settings = settings
        self._address = address
        self._version: Protocol = version
        self._credentials = credentials
        self._will = will
        self._subscribing = Subscribing(subscriptions)
        self._waker = waker
        self._mailbox = mailbox
        self._inbox = inbox
        self._number = number
        self._client: Client
        self._stream: Stream | None = None
        self._inspector = Inspector(settings.max_packet_bytes, version5=version == "5")
        self._sent: dict[int, Sending] = {}
        self._connack: tuple[bool, Limits] | None = None
        self._ready = False
        self._read_again_at = 0.0
        self._paused_at_bytes = 0
        """While the daemon has enough to do: a flood must not take all of a core just to be thrown away."""
        self._leaving = False
        self.orders: deque[Order] = deque()
        self.verdict: LinkFailure | None = None
        self.sent_messages = self.received_messages = self.ignored_messages = 0

    @property
    def traffic_bytes(self) -> tuple[int, int]:
        """Sent and received so far, with MQTT's own packets."""
        stream = self._stream
        return (stream.sent_bytes, stream.received_bytes) if stream else (0, 0)

    def run(self) -> None:
        """Returns after DISCONNECT was sent. Raises `LinkFailure`, and `StoppedError` once the waker was stopped."""
        deadline = time.monotonic() + self._settings.connect_timeout_s
        keepalive_s = self._settings.keepalive_s
        sock, websocket = dial(self._address, self._credentials.context, self._waker, deadline, keepalive_s=keepalive_s)
        self._stream = Stream(sock, websocket, self._inspector)
        try:
            self._client = client = Client(self._stream, self._settings, self._version)
            client.on_connect = self._on_connect
            client.on_subscribe = self._on_subscribe
            client.on_message = self._on_message
            client.on_publish = self._on_publish
            client.on_disconnect = self._on_disconnect
            client.send_connect(self._address, self._credentials, self._will)
            self._loop(self._stream, client, deadline)
        except OSError as error:
            raise of_error(error, self._address, connected=self._connack is not None) from error
        finally:
            self._stream.close()

    def unsettled(self) -> list[Sending]:
        """Messages whose fate is not known, once the thread has ended; later calls return none of them again."""
        left = [*self._sent.values(), *(order for order in self.orders if isinstance(order, Sending))]
        self._sent.clear()
        self.orders.clear()
        return left

    def _loop(self, stream: Stream, client: Client, deadline: float) -> None:
        while True:
            self._take_orders(client)
            if client.want_write() or stream.wants_write:
                stream.flush()
                self._check(client.loop_write())
            if client.socket() is None and self._leaving:
                return
            reading = self._may_read()
            wait_s = 0.0 if reading and stream.buffered else self._tick_s(client, deadline, reading)
            readable, _ = self._waker.wait(
                stream.fileno(), wait_s, read=reading, write=client.want_write() or stream.wants_write
            )
            if self._waker.stopped:
                raise StoppedError
            if reading and (readable or stream.buffered):
                self._check(client.loop_read())
                self._report_oversized(client)
                if self._inbox.full and stream.received_bytes - self._paused_at_bytes >= FULL_READ_BYTES:
                    self._paused_at_bytes = stream.received_bytes
                    self._read_again_at = time.monotonic() + FULL_PAUSE_S
            self._check(client.loop_misc())
            if self._connack and not self._ready and self._inbox.overfull:
                self._open()  # what a resumed session brings stands before the answer to SUBSCRIBE: it is taken first
            if not self._ready and time.monotonic() >= deadline:
                what = "confirm the subscriptions" if self._connack else "answer"
                raise LinkFailure(Kind.UNREACHABLE, f"the broker did not {what} in time")

    def _tick_s(self, client: Client, deadline: float, reading: bool) -> float:
        if not reading:
            return FULL_PAUSE_S
        tick_s = min(15.0, max(0.1, client.keepalive / 8)) if client.keepalive else 15.0
        return tick_s if self._ready else max(0.0, min(tick_s, deadline - time.monotonic()))

    def _may_read(self) -> bool:
        """Not while the daemon has enough to do; but confirmations, which it may be waiting for, come the same way."""
        if self._connack is None or not self._inbox.full:
            return True
        if self._inbox.overfull or not (self._sent or self._subscribing.pending):
            return False
        return time.monotonic() >= self._read_again_at

    def _take_orders(self, client: Client) -> None:
        while self.orders:
            order = self.orders.popleft()
            if isinstance(order, Acknowledgement):
                client.ack(order.packet_id, order.qos)
            elif isinstance(order, Leave):
                self._leaving = True
                client.disconnect()
            elif order.done.done():  # cancelled before it was sent
                self._mailbox.post(Settled(order, None))
            else:
                self._send(client, order)

    def _send(self, client: Client, sending: Sending) -> None:
        try:
            packet_id = client.send_publish(sending.publication, sending.qos, sending.retain)
        except Exception as error:
            _log.exception("a message for %s could not be sent", sending.publication.topic)
            self._mailbox.post(Settled(sending, EdgeAgentError(f"The message could not be sent: {error}.")))
            return
        if packet_id is None:
            self.orders.appendleft(sending)  # the connection has gone; `unsettled` finds it
            raise self._why(CONNECTION_LOST)
        self._sent[packet_id] = sending

    def _check(self, code: int) -> None:
        """Raises if the connection is over, or must be."""
        if self.verdict is not None:
            raise self.verdict
        if not self._leaving and (code != SUCCESS or self._client.socket() is None):
            raise self._why(code)

    def _why(self, code: int) -> LinkFailure:
        """The best explanation that there is."""
        if self.verdict is not None:
            return self.verdict
        error = self._stream.error if self._stream else None
        if error is not None:
            failure = of_error(error, self._address, connected=self._connack is not None)
            hung_up = isinstance(error, ConnectionError) or failure.kind is Kind.LOST
            if self._connack is None and hung_up:
                return LinkFailure(Kind.SILENT, "the broker closed the connection before it answered")
            return failure
        if code == PROTOCOL_ERROR:
            return LinkFailure(Kind.PROTOCOL, "the broker sent a packet that is malformed")
        if self._connack is None:
            return LinkFailure(Kind.UNREACHABLE, "the broker did not answer in time")
        return LinkFailure(Kind.LOST, f"nothing was heard from the broker for {2 * self._client.keepalive} s")

    @_guarded
    def _on_connect(self, _client: Client, _data: object, flags: Any, reason: Any, properties: Any) -> None:
        code, name = code_of(reason)
        if code >= 0x80:
            raise of_code(code, name, Kind.UNREACHABLE)
        ours = self._settings
        limits = Limits(
            packet_bytes=min(ours.max_packet_bytes, limit_of(properties, "MaximumPacketSize", ours.max_packet_bytes)),
            in_flight=max(1, min(ours.in_flight, limit_of(properties, "ReceiveMaximum", 65_535))),
            qos=min(1, limit_of(properties, "MaximumQoS", 1)),
            retain=limit_of(properties, "RetainAvailable", 1) == 1,
        )
        self._connack = bool(flags.session_present), limits
        self._subscribing.send(self._client)
        self._open_if_answered()

    @_guarded
    def _on_subscribe(self, _client: Client, _data: object, packet_id: int, reasons: Any, _properties: Any) -> None:
        refused = self._subscribing.answered(packet_id, reasons)
        for filter in refused if self._ready else ():
            _log.warning("the broker does not let this device subscribe to %s", filter)
        self._open_if_answered()

    def _open_if_answered(self) -> None:
        if not self._subscribing.pending and not self._ready:
            self._open()

    def _open(self) -> None:
        assert self._connack is not None
        self._ready = True
        session_present, limits = self._connack
        self._mailbox.post(
            Opened(session_present=session_present, refused=tuple(self._subscribing.refused), limits=limits)
        )

    @_guarded
    def _on_message(self, client: Client, _data: object, message: Any) -> None:
        self._deliver(client, received_of(message, self._number))

    def _report_oversized(self, client: Client) -> None:
        while self._inspector.oversized:
            self._deliver(client, without_payload(self._inspector.oversized.popleft(), self._number))

    def _deliver(self, client: Client, received: Received) -> None:
        """What was not subscribed to, or long ago with other settings, is acknowledged and forgotten. So is a flood of
        QoS 0 while confirmations are waited for, which come behind it: else both sides would wait for ever."""
        drowned = self._ready and self._inbox.full and not received.qos
        if drowned or not any(matches(filter, received.topic) for filter in self._subscribing.filters):
            self.ignored_messages += 1
            if received.qos:
                client.ack(received.packet_id, received.qos)
            return
        self.received_messages += 1
        self._inbox.arriving(received)
        self._mailbox.post(received)

    @_guarded
    def _on_publish(self, _client: Client, _data: object, packet_id: int, reason: Any, _properties: Any) -> None:
        sending = self._sent.pop(packet_id, None)
        if sending is None:
            return
        code, name = code_of(reason)
        error = None
        if code >= 0x80:
            topic = sending.publication.topic
            error = PublishRefusedError(
                f"The broker refused a message for {topic}: {name}.", temporary=code in TEMPORARY
            )
        else:
            self.sent_messages += 1
        self._mailbox.post(Settled(sending, error))

    @_guarded
    def _on_disconnect(self, _client: Client, _data: object, flags: Any, reason: Any, _properties: Any) -> None:
        if flags.is_disconnect_packet_from_server:
            code, name = code_of(reason)
            raise of_code(code, name, Kind.LOST)
