"""Whether a measurement says anything new. Pure.

A sample is worth recording when one of its values has left its deadband around what was recorded last, or when the
heartbeat is over, so that silence never lasts longer than that and means that nothing changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from agent.fleet.telemetry.sample import Scalar, Values


@dataclass(frozen=True, kw_only=True)
class Deadband:
    """A change counts if it is larger than `absolute`, and larger than the share `relative` of what was recorded."""

    absolute: float = 0.0
    relative: float = 0.0

    def left(self, before: float, now: float) -> bool:
        return abs(now - before) > max(self.absolute, self.relative * abs(before))


EXACT: Final = Deadband()
IGNORED: Final = Deadband(absolute=float("inf"))
"""Travels with the others, and is no reason to record any."""


def flat(values: Values) -> dict[str, Scalar]:
    """Groups as `group.name`, without what is None."""
    found: dict[str, Scalar] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found.update((f"{name}.{key}", one) for key, one in value.items() if one is not None)
        elif value is not None:
            found[name] = value
    return found


@dataclass
class Filter:
    """What was recorded last of one type. `bands` go by flat name, by the name in any group (`*.name`), or by the group
    (`group.*`); without one, each change counts."""

    bands: Mapping[str, Deadband]
    heartbeat_s: float
    _recorded: dict[str, Scalar] | None = field(default=None, init=False)
    _recorded_at: float = field(default=0.0, init=False)

    def forget(self) -> None:
        """The next values pass, whatever they are."""
        self._recorded = None

    def passes(self, values: Values, now: float) -> bool:
        """Whether to record it; if so, it is what the next one is compared with."""
        found = flat(values)
        if self._recorded is not None and now - self._recorded_at < self.heartbeat_s and not self._moved(found):
            return False
        self._recorded, self._recorded_at = found, now
        return True

    def _moved(self, found: Mapping[str, Scalar]) -> bool:
        before = self._recorded or {}
        return any(self._left(name, before.get(name), found.get(name)) for name in {**before, **found})

    def _left(self, name: str, before: Scalar, now: Scalar) -> bool:
        band = self._band(name)
        if band == IGNORED:
            return False
        if isinstance(before, bool | str | None) or isinstance(now, bool | str | None):
            return before != now
        return band.left(before, now)

    def _band(self, name: str) -> Deadband:
        group, _, one = name.rpartition(".")
        return self.bands.get(name) or self.bands.get(f"*.{one}") or self.bands.get(f"{group}.*") or EXACT
