"""What was observed of a device, in lines for a person. Pure."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from agent.commands.fleet_list import served
from agent.commands.printable import json_text, printable
from agent.fleet.remote.observation import Kind, Observation
from agent.fleet.remote.payload import text_of
from agent.fleet.remote.roster import Device

NAME_COLUMNS, TEXT_COLUMNS = 40, 300
_STAMPS: Final = frozenset({"time", "up", "seq"})


def lines_of(seen: Observation, samples: Sequence[Any], lost: int, device: Device | None, now: float) -> Iterator[str]:
    """`samples` are the new ones of a measurement or event, `lost` how many the device gave up before them; `device` is
    what is known of it by now. `now` is Unix time."""
    if seen.garbled:
        yield _line(now, seen, f"{_title(seen)} sent {seen.garbled}: {seen.raw}")
        return
    if lost:
        yield _line(now, seen, f"{_title(seen)} {lost:,} samples were lost on the device")
    if seen.kind in (Kind.MEASUREMENT, Kind.EVENT):
        for sample in samples:
            yield _line(_time_of(sample, now), seen, f"{_title(seen)} {_values(sample)}")
        return
    yield _line(now, seen, _state(seen, device))


def _state(seen: Observation, device: Device | None) -> str:
    match seen.kind:
        case Kind.HEALTH:
            return device.state if device is not None and not seen.cleared else "health was cleared"
        case Kind.REGISTRATION:
            if seen.cleared or device is None:
                return "is not registered any more"
            return f"registered, version {device.version or 'unknown'}, {device.board or 'unknown board'}"
        case Kind.MODELS:
            return f"models: {(served(device) if device is not None else '') or 'none'}"
        case Kind.ALARM:
            return f"{_title(seen)} is over" if seen.cleared else f"{_title(seen)} {_values(seen.data)}"
        case _:
            return f"{_title(seen)} {'was cleared' if seen.cleared else _command(seen.data)}"


def _command(data: Any) -> str:
    if not isinstance(data, dict):
        return json_text(data)
    status = text_of(data.get("status"))
    for name in ("reason", "result", "result_pieces", "args"):
        if data.get(name):
            return f"{status} {text_of(data[name])}"
    return status


def _title(seen: Observation) -> str:
    return f"ALARM {seen.type}" if seen.kind is Kind.ALARM else f"{seen.kind.value} {seen.type}"


def _time_of(sample: Any, now: float) -> float:
    stamp = sample.get("time") if isinstance(sample, Mapping) else None
    return float(stamp) if isinstance(stamp, int | float) and 0 < stamp < 2**33 else now


def _values(data: Any) -> str:
    """`disk.free_bytes=1 cpu=0.5`; a text alone stands for itself."""
    if not isinstance(data, Mapping):
        return text_of(data)
    parts = []
    for name, value in data.items():
        if name in _STAMPS:
            continue
        group = value.items() if isinstance(value, Mapping) else [("", value)]
        parts += [f"{name}{'.' if key else ''}{key}={text_of(one)}" for key, one in group]
    return " ".join(parts)


def _line(moment: float, seen: Observation, text: str) -> str:
    clock = time.strftime("%H:%M:%S", time.localtime(moment))
    return f"{clock}  {printable(seen.device, NAME_COLUMNS)}  {printable(text, TEXT_COLUMNS)}"
