"""What telemetry is told by agent.toml, and what it makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

from agent.errors import ConfigError
from agent.fleet.telemetry.alarms import Rule
from agent.fleet.telemetry.deadband import Deadband
from agent.fleet.telemetry.message import Format
from agent.fleet.telemetry.rules import MEASURED, HeatLimits, Measured, alarm_rules
from agent.fleet.telemetry.sender import SenderOptions
from agent.fleet.telemetry.state import OutboxLimits

DAY_S = 86_400.0


class TelemetrySettings(Protocol):
    """`agent.settings.mqtt_telemetry.MqttTelemetrySettings` is one, and says what each means."""

    @property
    def acknowledge(self) -> bool: ...
    @property
    def acknowledge_s(self) -> float: ...
    @property
    def deflate(self) -> bool: ...
    @property
    def format(self) -> Format: ...
    @property
    def batch_s(self) -> float: ...
    @property
    def message_kb(self) -> int: ...
    @property
    def flush_s(self) -> float: ...
    @property
    def cap_mb(self) -> int: ...
    @property
    def memory_kb(self) -> int: ...
    @property
    def keep_days(self) -> float: ...
    @property
    def watch_s(self) -> float: ...
    @property
    def intervals_s(self) -> Mapping[str, float]: ...
    @property
    def heartbeats_s(self) -> Mapping[str, float]: ...
    @property
    def deadbands(self) -> Mapping[str, Mapping[str, float | str]]: ...
    @property
    def alarms(self) -> Mapping[str, Mapping[str, float | bool]]: ...


def outbox_limits(settings: TelemetrySettings) -> OutboxLimits:
    return OutboxLimits(
        cap_bytes=settings.cap_mb * 1024 * 1024,
        memory_bytes=settings.memory_kb * 1024,
        flush_s=settings.flush_s,
        keep_s=settings.keep_days * DAY_S,
    )


def sender_options(settings: TelemetrySettings) -> SenderOptions:
    return SenderOptions(
        acknowledge=settings.acknowledge,
        acknowledge_s=settings.acknowledge_s,
        deflate=settings.deflate,
        format=settings.format,
        message_bytes=settings.message_kb * 1024,
        batch_s=settings.batch_s,
    )


def measured(settings: TelemetrySettings) -> dict[str, Measured]:
    """How each type is sampled. Raises `ConfigError` for a type that does not exist."""
    for table, names in (
        ("intervals_s", settings.intervals_s),
        ("heartbeats_s", settings.heartbeats_s),
        ("deadbands", settings.deadbands),
    ):
        _check(table, names, MEASURED)
    return {
        type: replace(
            one,
            interval_s=settings.intervals_s.get(type, one.interval_s),
            heartbeat_s=settings.heartbeats_s.get(type, one.heartbeat_s) or float("inf"),
            bands={**one.bands, **{name: _band(band) for name, band in settings.deadbands.get(type, {}).items()}},
        )
        for type, one in MEASURED.items()
    }


def rules(settings: TelemetrySettings, heat: HeatLimits) -> tuple[Rule, ...]:
    """The alarms that are on. Raises `ConfigError` for one that does not exist, or that could not be cleared."""
    every = {rule.name: rule for rule in alarm_rules(heat)}
    _check("alarms", settings.alarms, every)
    found = []
    for name, rule in every.items():
        changes: dict[str, Any] = dict(settings.alarms.get(name, {}))
        if changes.pop("enabled", True):
            try:
                found.append(replace(rule, **changes))
            except ValueError as error:
                key = f"mqtt.telemetry.alarms.{name}"
                raise ConfigError(f"{key}: {error}; raise_at and clear_at contradict.", param=key) from None
    return tuple(found)


def _check(table: str, names: Mapping[str, object], known: Mapping[str, object]) -> None:
    for name in names:
        if name not in known:
            key = f"mqtt.telemetry.{table}.{name}"
            raise ConfigError(f"{key}: there is no {name!r}; expected one of {', '.join(known)}.", param=key)


def _band(value: float | str) -> Deadband:
    if isinstance(value, str):
        return Deadband(relative=float(value.removesuffix("%")) / 100)
    return Deadband(absolute=value)
