"""What a message of samples looks like. Pure. docs/mqtt.md says it to those who read them."""

from __future__ import annotations

import zlib
from typing import Any, Final, Literal

import msgspec

from agent.fleet.telemetry.run import Run
from agent.fleet.telemetry.sample import Kind

Format = Literal["batch", "thin-edge"]

ENVELOPE_BYTES: Final = 256
"""More than what stands around the samples."""
DEFLATED: Final = "application/json+deflate"
_WORTH_BYTES: Final = 200
"""Shorter messages do not get shorter."""

_encode = msgspec.json.encode
_decode = msgspec.json.decode


def batch(run: Run, *, log: str, missing: int, up_s: float | None) -> bytes:
    """`{"seq", "log", "boot", "clock", "up", "missing", "samples": [...]}`: sample number i of it has the number
    `seq + i`.

    `missing` is how many directly before `seq` will never come. `up_s` is the device's `up` now, where the samples are
    of the present boot.
    """
    head: dict[str, Any] = {"seq": run.first, "log": log, "boot": run.boot, "clock": round(run.offset_s, 3)}
    if up_s is not None:
        head["up"] = round(up_s, 3)
    if missing:
        head["missing"] = missing
    samples = b",".join(run.lines)
    return b"".join((_encode(head)[:-1], b',"samples":[', samples, b"]}"))


def deflated(payload: bytes) -> bytes:
    """The zlib format (RFC 1950), which never begins with `{`; as it is where that is not longer."""
    if len(payload) < _WORTH_BYTES:
        return payload
    shorter = zlib.compress(payload, 6)
    return shorter if len(shorter) < len(payload) else payload


def single(line: bytes, seq: int, kind: Kind) -> bytes:
    """One sample as thin-edge.io reads it: a measurement is numbers, in groups one deep at most, and `time`; an event
    has a `text`. Times are Unix seconds."""
    values: dict[str, Any] = _decode(line)
    if kind is not Kind.MEASUREMENT:
        return _encode({**values, "seq": seq})
    found: dict[str, Any] = {"time": values.pop("time"), "seq": seq}
    for name, value in values.items():
        if isinstance(value, dict):
            if group := {key: float(one) for key, one in value.items() if isinstance(one, int | float)}:
                found[name] = group
        elif name != "up" and isinstance(value, int | float):
            found[name] = float(value)
    return _encode(found)
