"""How many bytes came over the network, and how many more may: the allowance, kept by whoever reads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from agent.updates.fetch.faults import HeldError

BURST_S: Final = 0.25
"""What was not used is saved up for so long."""
PATIENCE_S: Final = 20.0
"""Who may not go on for longer closes the connection: servers give up idle ones, too."""


class Meter:
    """`allow` from any thread, all else from the one that reads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._limit_bytes: int | None = None
        self._bytes_per_s: float | None = None
        self._credit_bytes = 0.0
        self._credited_at = clock()
        self.fetched_bytes = 0

    def allow(self, limit_bytes: int | None, bytes_per_s: float | None) -> None:
        """`limit_bytes` is the most that `fetched_bytes` may become; None and None: as much as there is."""
        with self._changed:
            self._limit_bytes = limit_bytes
            self._bytes_per_s = bytes_per_s
            self._changed.notify_all()

    def count(self, received_bytes: int) -> None:
        """So much has come."""
        with self._changed:
            self._refill()
            self.fetched_bytes += received_bytes
            self._credit_bytes -= received_bytes

    @property
    def left_bytes(self) -> int | None:
        """Until the limit; None without one."""
        with self._changed:
            return None if self._limit_bytes is None else max(0, self._limit_bytes - self.fetched_bytes)

    @property
    def bytes_per_s(self) -> float | None:
        return self._bytes_per_s

    @property
    def ready(self) -> bool:
        """Whether something may come now."""
        with self._changed:
            return self._pause_s() == 0

    def wait(self, patience_s: float = PATIENCE_S) -> None:
        """Returns when something may come. Raises `HeldError` if that takes longer than `patience_s`."""
        give_up = self._clock() + patience_s
        with self._changed:
            while (pause_s := self._pause_s()) > 0:
                left_s = give_up - self._clock()
                if left_s <= 0:
                    raise HeldError
                self._changed.wait(min(pause_s, left_s))

    def _pause_s(self) -> float:
        if self._limit_bytes is not None and self.fetched_bytes >= self._limit_bytes:
            return PATIENCE_S
        if self._bytes_per_s is None:
            return 0.0
        if self._bytes_per_s <= 0:
            return PATIENCE_S
        self._refill()
        return max(0.0, -self._credit_bytes / self._bytes_per_s)

    def _refill(self) -> None:
        now = self._clock()
        if self._bytes_per_s is not None:
            earned = (now - self._credited_at) * self._bytes_per_s
            self._credit_bytes = min(self._credit_bytes + earned, BURST_S * self._bytes_per_s)
        else:
            self._credit_bytes = 0.0
        self._credited_at = now
