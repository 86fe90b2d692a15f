"""A smart plug's topic: readings are passed on, everything else is dropped, and said once."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace

import pytest

from agent.errors import ConfigError
from agent.fleet.link.messages import Received
from agent.fleet.power import PowerTopic
from agent.meter_side import power_topic
from agent.settings import MqttSettings, Settings

TOPIC = "tele/plug/SENSOR"


@dataclass
class Reader:
    watts: list[float] = field(default_factory=list)

    def push(self, watts: float) -> None:
        self.watts.append(watts)


def received(payload: bytes, *, retain: bool = False) -> Received:
    return Received(topic=TOPIC, payload=payload, retain=retain)


def test_readings_are_passed_on_and_what_else_comes_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    reader = Reader()
    plug = PowerTopic(TOPIC, "ENERGY.Power", reader)
    with caplog.at_level(logging.INFO):
        plug.take(received(b'{"ENERGY": {"Power": 99}}', retain=True))  # nobody knows how old it is
        assert (reader.watts, caplog.records) == ([], [])
        for payload in (b"online", b'{"ENERGY": {"Power": 6}}', b"\xff", b'{"ENERGY": {"Power": 0}}'):
            plug.take(received(payload))
    assert reader.watts == [6.0, 0.0]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "b'online' is no power reading" in caplog.text


@pytest.mark.parametrize(
    ("topic", "fields", "complaint"),
    [
        pytest.param(TOPIC, {"mqtt": MqttSettings()}, "set mqtt.url", id="no broker"),
        pytest.param(TOPIC, {"power_command": "plug-watts"}, "there is a power_command, too", id="two meters"),
        pytest.param("tele/+/SENSOR", {}, "without + and #", id="any plug"),
        pytest.param("#", {}, "without + and #", id="everything"),
        pytest.param("$SYS/load", {}, "the full name of one topic", id="the broker's own"),
        pytest.param("x" * 70_000, {}, "the full name of one topic", id="too long"),
        pytest.param("te/device/kitchen/service/edge-agent/cmd/generate/1", {}, "edge-agent itself", id="a command"),
        pytest.param("te/device/kitchen/service/edge-agent", {}, "edge-agent itself", id="the registration"),
    ],
)
def test_a_topic_that_cannot_be_is_an_error_at_the_start(
    tmp_path_factory: pytest.TempPathFactory, topic: str, fields: dict[str, object], complaint: str
) -> None:
    mqtt = MqttSettings(url=("mqtt://broker",), device="kitchen")
    settings = Settings(state_dir=tmp_path_factory.getbasetemp(), power_topic=topic, mqtt=mqtt)
    with pytest.raises(ConfigError, match="power_topic") as found:
        power_topic(replace(settings, **fields), "host")  # type: ignore[arg-type]
    assert complaint in found.value.message
    assert power_topic(replace(settings, power_topic="te/device/kitchen/service/plug"), "host") is not None
    assert power_topic(replace(settings, power_topic=None), "host") is None
