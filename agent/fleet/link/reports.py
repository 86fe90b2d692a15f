"""What passes between a connection's thread and the event loop, both ways."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from agent.errors import EdgeAgentError
from agent.fleet.link.failure import LinkFailure
from agent.fleet.link.messages import Publication, Received


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the broker said in its CONNACK, and we ourselves where that is less."""

    packet_bytes: int
    in_flight: int
    qos: int = 1
    retain: bool = True


@dataclass(frozen=True, kw_only=True)
class Opened:
    """Connected, and every subscription is answered."""

    session_present: bool
    refused: tuple[str, ...]
    limits: Limits


@dataclass(eq=False)
class Sending:
    """A message on its way. `done` belongs to the event loop."""

    publication: Publication
    qos: int
    retain: bool
    done: asyncio.Future[None]


@dataclass(frozen=True)
class Acknowledgement:
    packet_id: int
    qos: int


@dataclass(frozen=True)
class Leave:
    """Say DISCONNECT and end."""


@dataclass(frozen=True, eq=False)
class Settled:
    """The broker has confirmed the message, or refused it, or it is not known."""

    sending: Sending
    error: EdgeAgentError | None


@dataclass(frozen=True)
class Ended:
    """The thread's last word."""

    failure: LinkFailure


Report = Opened | Received | Settled | Ended
Order = Sending | Acknowledgement | Leave


class Mailbox:
    """Reports from the thread to its loop, in order; one wake-up of the loop for all that came meanwhile."""

    def __init__(self, loop: asyncio.AbstractEventLoop, deliver: Callable[[Report], None]) -> None:
        self._loop = loop
        self._deliver = deliver
        self._reports: deque[Report] = deque()
        self._announced = False

    def post(self, report: Report) -> None:
        """From the thread."""
        self._reports.append(report)
        if not self._announced:
            self._announced = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody wants to know any more
                self._loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        self._announced = False  # before the first is taken: what comes now announces itself again
        while self._reports:
            self._deliver(self._reports.popleft())
