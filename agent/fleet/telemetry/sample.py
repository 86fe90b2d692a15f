"""One thing that the device tells, and how much it matters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import msgspec

from agent.errors import TooLargeError
from agent.fleet.telemetry.clock import Stamp

Scalar = float | int | str | bool | None
Value = Scalar | Mapping[str, Scalar]
Values = Mapping[str, Value]
"""Names to values; one level of groups, like `{"disk": {"free_bytes": 1}}`. What is None is left out."""

SAMPLE_BYTES: Final = 64 * 1024
"""Longest sample as JSON."""

_encoder = msgspec.json.Encoder()


class Kind(IntEnum):
    """The higher, the longer it is kept. Events and alarms are on the disk before anybody goes on."""

    MEASUREMENT = 0
    EVENT = 1
    ALARM = 2

    @property
    def durable(self) -> bool:
        return self is not Kind.MEASUREMENT


@dataclass(frozen=True, slots=True)
class Sample:
    """`seq` counts the samples of one type; `body` is its JSON, with `time` and `up`, without a line break."""

    seq: int
    stamp: Stamp
    body: bytes


def encode(stamp: Stamp, values: Values) -> bytes:
    """Raises `TooLargeError`."""
    body = _encoder.encode({"time": round(stamp.time_s, 3), "up": round(stamp.up_s, 3), **_present(values)})
    if len(body) > SAMPLE_BYTES:
        raise TooLargeError(f"A sample of {len(body):,} bytes; expected at most {SAMPLE_BYTES:,}.")
    return body


def _present(values: Values) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found[name] = {key: one for key, one in value.items() if one is not None}
        elif value is not None:
            found[name] = value
    return found
