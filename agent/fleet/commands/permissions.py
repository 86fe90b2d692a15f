"""Which operations the broker may ask for, how many at once, how many in an hour. Pure; the clock is passed in."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

HOUR_S: Final = 3600.0


@dataclass(frozen=True, kw_only=True)
class Permission:
    """`concurrency` commands run at once; in any hour at most `per_hour` are taken."""

    allow: bool
    concurrency: int
    per_hour: int


NOTHING: Final = Permission(allow=False, concurrency=1, per_hour=0)


class Permissions:
    """Counts what it grants. What is not in `by_operation` is not allowed."""

    def __init__(self, by_operation: Mapping[str, Permission]) -> None:
        self._permissions = dict(by_operation)
        self._granted: dict[str, deque[float]] = {}

    def of(self, operation: str) -> Permission:
        return self._permissions.get(operation, NOTHING)

    def remember(self, operation: str, times: Iterable[float]) -> None:
        """What was granted before this start."""
        self._granted[operation] = deque(sorted(times))

    def wait_s(self, operation: str, now: float) -> float:
        """0 if one more may be granted now, else how long until then."""
        granted = self._granted.get(operation, deque())
        while granted and granted[0] <= now - HOUR_S:
            granted.popleft()
        limit = self.of(operation).per_hour
        if len(granted) < limit:
            return 0.0
        return granted[len(granted) - limit] + HOUR_S - now if limit else HOUR_S

    def grant(self, operation: str, now: float) -> None:
        self._granted.setdefault(operation, deque()).append(now)

    def take_back(self, operation: str, when: float) -> None:
        """What was granted at `when` did not come about."""
        granted = self._granted.get(operation, deque())
        if when in granted:
            granted.remove(when)
