"""How fast one model's worker may go: behind those that serve while it is only tried, and as the governor says."""

from __future__ import annotations

import asyncio
import logging

from agent.runtime.niceness import give_way, take_turn
from agent.runtime.session import Session
from agent.runtime.throttle import FULL_SPEED, Throttle
from agent.runtime.wire.options import LlamaOptions, Options
from agent.runtime.worker import Worker

_log = logging.getLogger(__name__)

TURN_RETRY_S = 0.2
"""The kernel takes one change of a scheduling group in 0.1 s from all that are not root (kernel/sched/autogroup.c)."""
TURN_TRIES = 8
"""With twice the time between them each time: half a minute."""


class Pace:
    """Holds for every worker that the model will have. `gives_way`: one thread, and behind the others in the
    scheduler."""

    def __init__(self, name: str, options: Options, *, gives_way: bool) -> None:
        self._log = logging.LoggerAdapter(_log, {"fields": {"model": name}})
        self._name = name
        self._options = options
        self._gives_way = gives_way
        self._throttle = FULL_SPEED
        self._worker: Worker | None = None
        self._session: Session | None = None

    def started(self, worker: Worker) -> None:
        self._worker = worker
        if self._gives_way:
            give_way(worker.pid)

    def loaded(self, session: Session) -> None:
        self._session = session
        if self._gives_way:
            self.set(gives_way=True)
        if self._throttle != FULL_SPEED:
            self.throttle(self._throttle)

    def ended(self) -> None:
        """The worker is gone."""
        self._worker = self._session = None

    def set(self, *, gives_way: bool) -> None:
        """Whether it leaves the processors to others."""
        self._gives_way = gives_way
        if self._session is None or self._worker is None:
            return
        self._tell_threads(self._session)
        if gives_way:
            give_way(self._worker.pid)
        elif not take_turn(self._worker.pid):
            self._try_again(self._worker, 1)

    def throttle(self, throttle: Throttle) -> None:
        """Take no more of the board than this."""
        self._throttle = throttle
        if self._session is not None:
            self._tell_threads(self._session)
            self._session.set_pace(throttle.pace_of(self._options))

    def _tell_threads(self, session: Session) -> None:
        if isinstance(self._options, LlamaOptions):
            order = self._throttle.threads_of(self._options)
            session.set_threads(*((1, 1) if self._gives_way else (order.threads, order.threads_batch)))

    def _try_again(self, worker: Worker, tries: int) -> None:
        delay_s = TURN_RETRY_S * 2 ** (tries - 1)
        asyncio.get_running_loop().call_later(delay_s, self._take_turn, worker, tries)

    def _take_turn(self, worker: Worker, tries: int) -> None:
        if not worker.running or self._gives_way or take_turn(worker.pid):
            return
        if tries < TURN_TRIES:
            self._try_again(worker, tries + 1)
        else:
            self._log.warning("%s: worker %d stays behind the others in the scheduler", self._name, worker.pid)
