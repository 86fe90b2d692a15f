"""`[mqtt]` in the link's own terms."""

from __future__ import annotations

from agent.errors import ConfigError, RequestError
from agent.fleet.link.address import Address
from agent.fleet.link.backoff import Pauses
from agent.fleet.link.settings import LinkSettings
from agent.fleet.topics import Topics, device_name
from agent.settings import MqttSettings


def topics_of(mqtt: MqttSettings, hostname: str) -> Topics:
    """Raises `ConfigError` for a root or a device that no topic can carry."""
    try:
        return Topics(mqtt.root, mqtt.device or device_name(hostname))
    except RequestError as error:
        raise ConfigError(f"mqtt.{error.message}", param=f"mqtt.{error.param}") from None


def link_settings(mqtt: MqttSettings, topics: Topics) -> LinkSettings:
    """Raises `ConfigError` for what cannot be: no URL, a URL that is none, pauses that contradict each other."""
    if not mqtt.url:
        raise ConfigError("mqtt.url is not set.", hint="Set it to the broker, like mqtt://HOST.", param="mqtt.url")
    if mqtt.reconnect_first_s > mqtt.reconnect_cap_s:
        raise ConfigError(
            f"mqtt.reconnect_first_s = {mqtt.reconnect_first_s:g}: expected at most mqtt.reconnect_cap_s,"
            f" which is {mqtt.reconnect_cap_s:g}.",
            param="mqtt.reconnect_first_s",
        )
    return LinkSettings(
        brokers=tuple(map(Address.parse, mqtt.url)),
        client_id=mqtt.client_id or f"edge-agent-{topics.device}",
        username=mqtt.username,
        password=mqtt.password,
        password_file=mqtt.password_file,
        ca_file=mqtt.ca_file,
        cert_file=mqtt.cert_file,
        key_file=mqtt.key_file,
        alpn=mqtt.alpn,
        protocol=mqtt.protocol,
        keepalive_s=mqtt.keepalive_s,
        session_expiry_s=mqtt.session_expiry_s,
        connect_timeout_s=mqtt.connect_timeout_s,
        pauses=Pauses(first_s=mqtt.reconnect_first_s, cap_s=mqtt.reconnect_cap_s),
        max_packet_bytes=mqtt.max_packet_kb * 1024,
        in_flight=mqtt.in_flight,
    )
