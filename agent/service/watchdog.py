"""Feeding systemd's watchdog: only while the event loop turns, and while nothing in it has to be called hung.

What hangs in another way is restarted by systemd (`WatchdogSec=` in edge-agent.service), which first sends SIGABRT:
every thread's stack is then written to the log, as far as Python gets (python/cpython#116008).
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import time
from collections.abc import Callable, Mapping

from agent.service.notify import notify

_log = logging.getLogger(__name__)

FEEDS_PER_LIMIT = 3
"""sd_watchdog_enabled(3) recommends twice within the limit; a third one lets one of them be late."""


def limit_s(environment: Mapping[str, str], pid: int) -> float | None:
    """How long systemd waits for a sign of life, in seconds; None where it waits for none of this process."""
    text, owner = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not (text.isascii() and text.isdecimal()) or int(text) == 0 or owner not in ("", str(pid)):
        return None
    return int(text) / 1e6


async def feed(hung: Callable[[], str | None], environment: Mapping[str, str] = os.environ) -> None:
    """Runs until cancelled; returns at once where systemd watches over nothing. `hung` says what is, or None."""
    limit = limit_s(environment, os.getpid())
    if limit is None:
        return
    if not faulthandler.is_enabled():
        faulthandler.enable()
    said: str | None = None
    interval_s = limit / FEEDS_PER_LIMIT
    late = False
    while True:
        trouble = None if late else hung()
        if trouble is None:
            notify("WATCHDOG=1", environment)
        elif trouble != said:
            _log.error("the watchdog is not fed: %s; systemd restarts the service within %g s", trouble, limit)
        if said is not None and trouble is None:
            _log.warning("the watchdog is fed again")
        said = trouble
        began = time.monotonic()
        await asyncio.sleep(interval_s)
        late = time.monotonic() - began > 2 * interval_s  # this process was held up: the workers' answers lie unread
