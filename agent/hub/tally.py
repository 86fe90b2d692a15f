"""How far a download of several files has come."""

from __future__ import annotations

from collections.abc import Callable

OnBytes = Callable[[int, int], None]
"""(done, total), in bytes."""


class Tally:
    """Bytes of all files together."""

    def __init__(self, total_bytes: int, on_bytes: OnBytes | None) -> None:
        self._total_bytes = total_bytes
        self._done_bytes = 0
        self._on_bytes = on_bytes

    def add(self, count: int) -> None:
        """Bytes won; less than 0 for bytes lost."""
        self._done_bytes += count
        if self._on_bytes is not None:
            self._on_bytes(self._done_bytes, self._total_bytes)
