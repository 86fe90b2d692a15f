from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent.errors import ConfigError
from agent.fleet.telemetry.deadband import Deadband
from agent.fleet.telemetry.rules import MEASURED, alarm_rules
from agent.fleet.telemetry.settings import measured, outbox_limits, rules, sender_options
from agent.settings.mqtt_telemetry import MqttTelemetrySettings, telemetry_settings


@dataclass(frozen=True)
class Heat:
    hard_limit_celsius: float = 82.0
    hysteresis_celsius: float = 5.0


def read(text: str) -> MqttTelemetrySettings:
    return telemetry_settings(tomllib.loads(text), where="agent.toml")


def test_defaults() -> None:
    settings = read("")
    assert settings == MqttTelemetrySettings(intervals_s={}, heartbeats_s={}, deadbands={}, alarms={})
    assert measured(settings) == dict(MEASURED)
    assert rules(settings, Heat()) == alarm_rules(Heat())
    assert outbox_limits(settings).cap_bytes == 16 * 1024 * 1024
    assert sender_options(settings).message_bytes == 120 * 1024


def test_everything_set() -> None:
    settings = read("""
        acknowledge = true
        format = "thin-edge"
        flush_s = 60
        keep_days = 2
        [intervals_s]
        board = 10
        link = 0
        [heartbeats_s]
        board = 100
        engine = 0
        [deadbands.board]
        temperature_celsius = 0.5
        memory_available_bytes = "10%"
        [alarms.too_hot]
        raise_at = 70
        clear_at = 60
        [alarms.disk_low]
        enabled = false
        """)
    found = measured(settings)
    assert (found["board"].interval_s, found["board"].heartbeat_s, found["link"].interval_s) == (10, 100, 0)
    assert found["engine"].heartbeat_s == float("inf")
    assert found["board"].bands["temperature_celsius"] == Deadband(absolute=0.5)
    assert found["board"].bands["memory_available_bytes"] == Deadband(relative=0.1)
    assert found["board"].bands["cpu_percent"] == MEASURED["board"].bands["cpu_percent"]
    named = {rule.name: rule for rule in rules(settings, Heat())}
    assert "disk_low" not in named
    assert (named["too_hot"].raise_at, named["too_hot"].clear_at, named["too_hot"].raise_s) == (70, 60, 30)
    assert outbox_limits(settings).keep_s == 2 * 86_400


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("flush = 5", "mqtt.telemetry.flush in agent.toml is not a setting. Did you mean flush_s?"),
        ("flush_s = 0", "mqtt.telemetry.flush_s = 0"),
        ("cap_mb = 1", "at least 4|from 4"),
        ('format = "xml"', "one of batch, thin-edge"),
        ("acknowledge = 1", "true or false"),
        ("intervals_s = 5", "expected a table"),
        ("intervals_s.board = true", "intervals_s.board"),
        ("intervals_s.board = 0.5", "1 to 604800 seconds"),
        ("intervals_s.boards = 5", "there is no 'boards'; expected one of board, engine"),
        ("heartbeats_s.x = 5", "heartbeats_s.x"),
        ("deadbands.board = 5", "expected a table"),
        ('deadbands.board.x = "5"', "a share like"),
        ('deadbands.board.x = "-5%"', "a share like"),
        ('deadbands.board.x = "nan%"', "a share like"),
        ("deadbands.board.x = -1", "not negative"),
        ("deadbands.x.y = 1", "deadbands.x"),
        ("alarms.hot.raise_at = 1", "there is no 'hot'"),
        ("alarms.too_hot.at = 1", "is not a setting"),
        ("alarms.too_hot.raise_s = -1", "expected a number"),
        ("alarms.too_hot.enabled = 1", None),
        ("alarms.too_hot.raise_at = 60", "contradict"),
    ],
)
def test_what_is_wrong_is_named(text: str, said: str | None) -> None:
    def use() -> Any:
        settings = read(text)
        return measured(settings), rules(settings, Heat())

    with pytest.raises(ConfigError) as caught:
        use()
    if said is not None:
        assert re.search(said.replace("(", r"\("), str(caught.value))


def test_every_alarm_has_a_text_that_can_be_written() -> None:
    for rule in alarm_rules(Heat()):
        assert rule.text.format(value=0.5, limit=rule.raise_at, detail="d")


def test_the_documentation_names_every_type_and_every_alarm() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "mqtt.md").read_text("utf-8")
    names = [*MEASURED, *(rule.name for rule in alarm_rules(Heat()))]
    assert [name for name in names if f"| `{name}` |" not in page] == []
