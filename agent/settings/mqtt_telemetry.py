"""`[mqtt.telemetry]` in agent.toml: what the device tells of itself, how often, and what it keeps while it cannot."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from agent.errors import ConfigError
from agent.settings.declaration import declarations, setting, unknown_key

_NONE: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class MqttTelemetrySettings:
    """Only in the file: no flags and no variables. The last four are tables; which names they may have is known to
    telemetry itself, and docs/mqtt.md lists them."""

    enabled: bool = setting("Send measurements, events and alarms.", default=True)
    acknowledge: bool = setting(
        "Keep what was sent until a consumer has said on `P/ack` that it has it; else the broker's word is enough.",
        default=False,
    )
    acknowledge_s: float = setting(
        "How long to wait for that before it is sent again; it doubles with each time.",
        default=30.0,
        unit="seconds",
        minimum=1,
        maximum=3600,
    )
    deflate: bool = setting("Compress messages (zlib); MQTT 5 says so in the content type.", default=False)
    format: Literal["batch", "thin-edge"] = setting(
        "`batch`: many samples in a message. `thin-edge`: one in each, as thin-edge.io's tools read them.",
        default="batch",
    )
    batch_s: float = setting(
        "How long a measurement may wait for others to travel with.",
        default=0.0,
        unit="seconds",
        minimum=0,
        maximum=3600,
    )
    message_kb: int = setting(
        "Longest message, before it is compressed. On a slow line they are shorter.",
        default=120,
        unit="KB",
        minimum=1,
        maximum=8192,
    )
    flush_s: float = setting(
        "How long a measurement that has not arrived may be in memory only: so much a kill can cost, and so seldom the"
        " card is written to. Events and alarms are written at once.",
        default=300.0,
        unit="seconds",
        minimum=1,
        maximum=3600,
    )
    cap_mb: int = setting(
        "Most that may lie on the disk; then the oldest measurements are dropped, and counted.",
        default=16,
        unit="MB",
        minimum=4,
        maximum=4096,
    )
    memory_kb: int = setting(
        "Most that is kept in memory while the disk cannot be written.",
        default=1024,
        unit="KB",
        minimum=64,
        maximum=65_536,
    )
    keep_days: float = setting(
        "Measurements that are older are not sent any more; 0: whatever fits is.",
        default=0.0,
        unit="days",
        minimum=0,
        maximum=3650,
    )
    watch_s: float = setting(
        "How often the board is looked at for alarms.", default=15.0, unit="seconds", minimum=1, maximum=3600
    )
    intervals_s: Mapping[str, float] = field(default_factory=lambda: _NONE)
    heartbeats_s: Mapping[str, float] = field(default_factory=lambda: _NONE)
    deadbands: Mapping[str, Mapping[str, float | str]] = field(default_factory=lambda: _NONE)
    alarms: Mapping[str, Mapping[str, float | bool]] = field(default_factory=lambda: _NONE)


_TABLES = ("intervals_s", "heartbeats_s", "deadbands", "alarms")
_ALARM_KEYS = ("enabled", "raise_at", "clear_at", "raise_s", "clear_s")


def telemetry_settings(raw: object, *, where: str, prefix: str = "mqtt.telemetry") -> MqttTelemetrySettings:
    """The table as settings. Raises `ConfigError` naming the key, the value and what was expected."""
    table = _table(raw, prefix, where)
    known = declarations(MqttTelemetrySettings)
    for key in table:
        if key not in known and key not in _TABLES:
            raise unknown_key(f"{prefix}.{key}", [*known, *_TABLES], where=where)
    values: dict[str, Any] = {
        name: declaration.check(table[name], where=where, base=Path(), key=f"{prefix}.{name}")
        for name, declaration in known.items()
        if name in table
    }
    for name in ("intervals_s", "heartbeats_s"):
        key = f"{prefix}.{name}"
        values[name] = {
            type: _seconds(value, f"{key}.{type}", where)
            for type, value in _table(table.get(name, {}), key, where).items()
        }
    key = f"{prefix}.deadbands"
    values["deadbands"] = {
        type: {
            one: _band(value, f"{key}.{type}.{one}", where)
            for one, value in _table(bands, f"{key}.{type}", where).items()
        }
        for type, bands in _table(table.get("deadbands", {}), key, where).items()
    }
    key = f"{prefix}.alarms"
    values["alarms"] = {
        name: _alarm(alarm, f"{key}.{name}", where)
        for name, alarm in _table(table.get("alarms", {}), key, where).items()
    }
    return MqttTelemetrySettings(**values)


def _table(value: object, key: str, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{key} = {value!r} in {where}: expected a table.", param=key)
    return value


def _seconds(value: object, key: str, where: str) -> float:
    number = _number(value)
    if number is None or not (number == 0 or 1 <= number <= 604_800):
        raise ConfigError(f"{key} = {value!r} in {where}: expected 1 to 604800 seconds, or 0 for never.", param=key)
    return number


def _band(value: object, key: str, where: str) -> float | str:
    """A number in the measurement's own unit, or a share like "5%"."""
    if isinstance(value, str) and value.endswith("%"):
        try:
            share = float(value[:-1])
        except ValueError:
            share = -1.0
        if 0 <= share <= 1000:
            return value
    elif (number := _number(value)) is not None and number >= 0:
        return number
    raise ConfigError(
        f'{key} = {value!r} in {where}: expected a number that is not negative, or a share like "5%".', param=key
    )


def _alarm(value: object, key: str, where: str) -> dict[str, float | bool]:
    table = _table(value, key, where)
    found: dict[str, float | bool] = {}
    for name, one in table.items():
        if name not in _ALARM_KEYS:
            raise unknown_key(f"{key}.{name}", _ALARM_KEYS, where=where)
        number = (one if isinstance(one, bool) else None) if name == "enabled" else _number(one)
        if number is None or (name.endswith("_s") and number < 0):
            wanted = "true or false" if name == "enabled" else "a number"
            raise ConfigError(f"{key}.{name} = {one!r} in {where}: expected {wanted}.", param=f"{key}.{name}")
        found[name] = number
    return found


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
