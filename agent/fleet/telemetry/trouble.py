"""A disk that cannot be used: why, and when it is tried again. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

RETRY_FIRST_S: Final = 30.0
RETRY_CAP_S: Final = 900.0


@dataclass
class Trouble:
    """`reason` is None while there is none. Pauses double up to a cap, until something has worked."""

    reason: str | None = None
    retry_at: float = 0.0
    _pause_s: float = RETRY_FIRST_S

    def stumbled(self, reason: str, now: float, *, soon: bool) -> bool:
        """`soon`: there is something to be done about it at once. Whether all was well before."""
        began = self.reason is None
        self.reason = reason
        self.retry_at = now + (0.0 if soon else self._pause_s)
        self._pause_s = min(self._pause_s * 2, RETRY_CAP_S)
        return began

    def worked(self) -> bool:
        """Whether it had not before."""
        ended, self.reason, self._pause_s = self.reason is not None, None, RETRY_FIRST_S
        return ended
