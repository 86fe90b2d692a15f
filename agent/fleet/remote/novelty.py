"""Whether a state that came is another one than before: all of them come again with each connection. Pure."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

from agent.fleet.remote.observation import Kind, Observation

REMEMBERED: Final = 100_000
_HEALTH: Final = ("status", "pid", "boot_id")


class Novelty:
    def __init__(self) -> None:
        self._last: OrderedDict[tuple[str, Kind, str], int] = OrderedDict()

    def feed(self, seen: Observation) -> bool:
        """Nothing is not new where nothing was known."""
        key = (seen.device, seen.kind, seen.type)
        known = self._last.get(key)
        if seen.cleared:
            self._last.pop(key, None)
            return known is not None
        mark = hash(_essence(seen))
        self._last[key] = mark
        self._last.move_to_end(key)
        while len(self._last) > REMEMBERED:
            self._last.popitem(last=False)
        return known != mark


def _essence(seen: Observation) -> str:
    data: Any = seen.data
    if seen.kind is Kind.HEALTH and isinstance(data, dict):
        data = [data.get(name) for name in _HEALTH]
    return repr((data, seen.garbled, seen.raw))
