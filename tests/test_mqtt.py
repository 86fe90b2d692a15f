"""`[mqtt]` in the link's terms."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from agent.errors import ConfigError
from agent.fleet.link.address import Address
from agent.fleet.link.settings import LinkSettings
from agent.fleet.topics import ROOT
from agent.mqtt import link_settings, topics_of
from agent.settings import MqttSettings


def made(**values: Any) -> LinkSettings:
    mqtt = MqttSettings(**{"url": ("mqtt://h",), **values})
    return link_settings(mqtt, topics_of(mqtt, "pi.local"))


def test_no_default_differs_from_the_link_s_own() -> None:
    assert made() == LinkSettings(brokers=(Address.parse("mqtt://h"),), client_id="edge-agent-pi")
    assert MqttSettings().root == ROOT


def test_what_is_set_reaches_the_link() -> None:
    values = {
        "url": ("mqtt://a", "wss://b"),
        "client_id": "c",
        "username": "u",
        "password": "p",
        "password_file": Path("pw"),
        "ca_file": Path("ca"),
        "cert_file": Path("cert"),
        "key_file": Path("key"),
        "alpn": ("x",),
        "protocol": "5",
        "keepalive_s": 7,
        "session_expiry_s": 8,
        "connect_timeout_s": 9.0,
        "reconnect_first_s": 10.0,
        "reconnect_cap_s": 11.0,
        "max_packet_kb": 12,
        "in_flight": 13,
    }
    settings = made(**values)
    assert [str(broker) for broker in settings.brokers] == ["mqtt://a:1883", "wss://b:443/mqtt"]
    assert (settings.pauses.first_s, settings.pauses.cap_s, settings.max_packet_bytes) == (10.0, 11.0, 12 * 1024)
    same = values.keys() & {field.name for field in dataclasses.fields(settings)}
    assert {name: getattr(settings, name) for name in same} == {name: values[name] for name in same}
    assert values.keys() - same == {"url", "reconnect_first_s", "reconnect_cap_s", "max_packet_kb"}


@pytest.mark.parametrize(
    ("values", "param"),
    [
        ({"url": ()}, "mqtt.url"),
        ({"url": ("http://h",)}, "mqtt.url"),
        ({"device": "a/b"}, "mqtt.device"),
        ({"root": "a/#"}, "mqtt.root"),
        ({"reconnect_first_s": 300.0}, "mqtt.reconnect_first_s"),
    ],
)
def test_what_cannot_be(values: dict[str, Any], param: str) -> None:
    with pytest.raises(ConfigError, match=param) as caught:
        made(**values)
    assert caught.value.param == param
