from __future__ import annotations

import pytest

from agent.errors import ConfigError
from agent.fleet.link.address import Address


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mqtt://broker", Address("mqtt", "broker", 1883)),
        ("MQTT://Broker:1/", Address("mqtt", "broker", 1)),
        ("mqtts://broker.example", Address("mqtts", "broker.example", 8883)),
        ("mqtts://[fd00::1]:443", Address("mqtts", "fd00::1", 443)),
        ("ws://10.0.0.1", Address("ws", "10.0.0.1", 80, "/mqtt")),
        ("wss://h/a/b?token=1", Address("wss", "h", 443, "/a/b?token=1")),
        (" mqtt://bücher.example ", Address("mqtt", "xn--bcher-kva.example", 1883)),
    ],
)
def test_a_broker_s_address(url: str, expected: Address) -> None:
    assert Address.parse(url) == expected


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("broker", "begins with mqtt://"),
        ("http://broker", "begins with mqtt://"),
        ("mqtt://", "names no host"),
        ("mqtt://h:0", "port 0"),
        ("mqtt://h:99999", "out of range"),
        ("mqtt://h:port", "'port'"),
        ("mqtt://[fd00::1", "IPv6"),
        ("mqtt://h/topic", "nothing may follow the port"),
        ("ws://h/a b", "space"),
        ("ws://h/ü", "ASCII"),
        ("ws://h/a#b", "nothing may follow"),
        (f"mqtt://{'ü' * 80}", "no valid name"),
    ],
)
def test_what_is_no_address(url: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        Address.parse(url)
    assert caught.value.param == "mqtt.url"


def test_a_password_in_the_url_is_refused_and_not_repeated() -> None:
    for url in ("mqtt://me:secret@broker", "mqtt://me:secret@@broker", "nonsense://me:secret@broker"):
        with pytest.raises(ConfigError) as caught:
            Address.parse(url)
        assert "secret" not in str(caught.value)


def test_as_it_is_shown() -> None:
    assert str(Address.parse("wss://[fd00::1]/a?signature=secret")) == "wss://[fd00::1]:443/a"
