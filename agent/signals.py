"""SIGTERM, SIGINT and SIGHUP, as the daemon takes them."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

_log = logging.getLogger("agent.app")


class Signals:
    """The first SIGTERM or SIGINT sets `stopping`, so that what runs can finish; the second cancels the task that
    called `handle`, and `forced` says so. SIGHUP reloads. `grace_s` is what running requests get, for the log.
    """

    def __init__(
        self,
        stopping: asyncio.Event,
        *,
        reload: Callable[[], Coroutine[Any, Any, None]],
        grace_s: Callable[[], float],
    ) -> None:
        self.forced = False
        self._stopping = stopping
        self._reload = reload
        self._grace_s = grace_s
        self._reloads: set[asyncio.Task[None]] = set()
        self._main: asyncio.Task[Any] | None = None
        self._on_terminal = False

    def handle(self) -> None:
        """From now on, for as long as the loop lives."""
        loop = asyncio.get_running_loop()
        self._main = asyncio.current_task()
        self._on_terminal = sys.stdin is not None and sys.stdin.isatty()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number.name)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)

    def _stop(self, name: str) -> None:
        if not self._stopping.is_set():
            _log.info("%s: stopping; running requests get %g s", name, self._grace_s())
            self._stopping.set()
        elif self._main is not None and not self.forced:
            self.forced = True
            self._main.cancel()

    def _hang_up(self) -> None:
        if self._on_terminal and _terminal_is_gone():
            self._stop("terminal closed")
        else:
            task = asyncio.get_running_loop().create_task(self._reload(), name="reload")
            self._reloads.add(task)
            task.add_done_callback(self._reloads.discard)


def _terminal_is_gone() -> bool:
    """SIGHUP is also what the kernel sends when the terminal that we were started on is closed."""
    try:
        os.tcgetpgrp(sys.stdin.fileno())
    except OSError:
        return True
    return False
