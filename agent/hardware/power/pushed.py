"""Readings that come from outside: a smart plug over MQTT. Whoever receives them calls `push`."""

from __future__ import annotations

import json
from typing import Final

from agent.errors import RequestError, UnavailableError
from agent.hardware.power.meter import MOST_WATTS, PowerSample

LIMIT_BYTES: Final = 4096
STALE_S: Final = 60.0
LAG_S: Final = 1.0
"""Plugs send a mean over about a second, and a message takes its way: the watts are those of some moment in so much
time before it came."""

_WATTS: Final = (("watts",), ("power",), ("apower",), ("ENERGY", "Power"))
"""Where plugs have their watts: ours, Zigbee2MQTT, Shelly (switch.status), Tasmota (tele/+/SENSOR)."""
_SHOWN_CHARACTERS: Final = 60


def parse_payload(payload: bytes, key: str | None = None) -> float:
    """Watts, from a bare number or from JSON as plugs send it. `key` is where in the JSON, like `ENERGY.Power`; a
    number stands for a place in an array. Raises `RequestError` for anything else."""
    where = '{"watts": 6.4}' if key is None else f"with a number at {key}"
    wrong = RequestError(
        f"{payload[:_SHOWN_CHARACTERS]!r} is no power reading.",
        hint=f"Send a number of watts, or JSON like {where}." if key is None else f"Send JSON {where}.",
        param="watts",
    )
    if len(payload) > LIMIT_BYTES:
        raise wrong
    try:
        value: object = json.loads(payload)
    except (ValueError, RecursionError):
        raise wrong from None
    if key is not None:
        value = _at(value, tuple(key.split(".")))
    elif isinstance(value, dict):
        value = next((found for path in _WATTS if (found := _at(value, path)) is not None), None)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST_WATTS:
        raise wrong
    return float(value)


def _at(value: object, path: tuple[str, ...]) -> object:
    for key in path:
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and key.isdecimal() and key.isascii() and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value


class PushedMeter:
    """`source` names who sends. A reading older than `stale_s` counts no more."""

    scope = "whatever the sender measures"
    quick = False
    """It says what was sent last, and not how it is now."""

    def __init__(self, source: str, *, stale_s: float = STALE_S) -> None:
        self.source = source
        self.stale_s = stale_s
        self._last: PowerSample | None = None
        self._came_s = 0.0

    def push(self, watts: float, now_s: float) -> None:
        """A reading that came at `now_s`. Raises `RequestError` for watts that cannot be."""
        if not 0 <= watts <= MOST_WATTS:
            raise RequestError(f"{watts:g} W cannot be.", param="watts")
        self._last = PowerSample(at_s=now_s - LAG_S, watts=float(watts), took_s=LAG_S)
        self._came_s = now_s

    def read(self, now_s: float) -> PowerSample:
        """The last reading with the time at which it was taken."""
        last = self._last
        if last is None:
            raise UnavailableError(f"{self.source} has not sent any reading yet.")
        if now_s - self._came_s > self.stale_s:
            raise UnavailableError(f"{self.source} has not sent a reading for {now_s - self._came_s:.0f} s.")
        return last
