# ruff: noqa: RUF009 - `setting` makes a dataclass field
"""`[mqtt]` in agent.toml: the broker that the device reports to and takes commands from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from agent.settings.declaration import setting
from agent.settings.mqtt_operations import OPERATIONS, OperationSettings
from agent.settings.mqtt_telemetry import MqttTelemetrySettings


@dataclass(frozen=True, kw_only=True)
class MqttSettings:
    """Each also has a flag `--mqtt-...` and a variable `EDGE_AGENT_MQTT_...`; the device's are without `mqtt`."""

    url: tuple[str, ...] = setting(
        "The broker: `mqtt://HOST`, `mqtts://` (TLS), `ws://` or `wss://` (WebSocket), with `:PORT` where it is not the"
        " usual one. Several are tried in order.",
        default=(),
        default_doc="none: no MQTT",
        flag="mqtt-url",
    )
    device: str | None = setting(
        "This device's name in the topics; no two devices of a broker may share one.",
        default=None,
        default_doc="the host's name",
        flag="device",
    )
    root: str = setting("First level of all topics.", default="te", flag="mqtt-root")
    client_id: str | None = setting(
        "What the device is called towards the broker.",
        default=None,
        default_doc="`edge-agent-` and the device's name",
        flag="mqtt-client-id",
    )
    username: str | None = setting("The broker's user.", default=None, flag="mqtt-username")
    password: str | None = setting("The user's password.", default=None, secret=True, flag="mqtt-password")
    password_file: Path | None = setting(
        "A file with the password in its first line; read again when it changes.",
        default=None,
        flag="mqtt-password-file",
    )
    ca_file: Path | None = setting(
        "Certificates (PEM) of the authorities that may vouch for the broker.",
        default=None,
        default_doc="the system's",
        flag="mqtt-ca-file",
    )
    cert_file: Path | None = setting(
        "The device's own certificate (PEM), with those between it and the authority.",
        default=None,
        flag="mqtt-cert-file",
    )
    key_file: Path | None = setting(
        "The certificate's private key (PEM), not encrypted.",
        default=None,
        default_doc="in `cert_file`",
        flag="mqtt-key-file",
    )
    alpn: tuple[str, ...] = setting(
        "Protocol names to offer in the TLS handshake, like `x-amzn-mqtt-ca` for AWS on port 443.",
        default=(),
        flag="mqtt-alpn",
    )
    protocol: Literal["auto", "5", "3.1.1"] = setting(
        "The MQTT version; auto is 5, and 3.1.1 where the broker does not know it.",
        default="auto",
        flag="mqtt-protocol",
    )
    keepalive_s: int = setting(
        "How long the line may be silent before it is checked; a dead one is noticed within twice that time.",
        default=60,
        unit="seconds",
        minimum=5,
        maximum=65_535,
        flag="mqtt-keepalive-s",
    )
    session_expiry_s: int = setting(
        "How long the broker keeps messages for a device that is away; 0 keeps none.",
        default=604_800,
        unit="seconds",
        minimum=0,
        maximum=2**32 - 2,
        flag="mqtt-session-expiry-s",
    )
    connect_timeout_s: float = setting(
        "How long one attempt to connect may take.",
        default=15.0,
        unit="seconds",
        minimum=1,
        maximum=300,
        flag="mqtt-connect-timeout-s",
    )
    reconnect_first_s: float = setting(
        "Longest pause before the first attempt to reconnect; it doubles with each one that fails, and each pause is"
        " a random part of it.",
        default=5.0,
        unit="seconds",
        minimum=0.1,
        maximum=3600,
        flag="mqtt-reconnect-first-s",
    )
    reconnect_cap_s: float = setting(
        "Longest pause between two attempts.",
        default=120.0,
        unit="seconds",
        minimum=1,
        maximum=86_400,
        flag="mqtt-reconnect-cap-s",
    )
    max_packet_kb: int = setting(
        "Largest message, with its topic, that is sent or taken.",
        default=256,
        unit="KB",
        minimum=4,
        maximum=65_536,
        flag="mqtt-max-packet-kb",
    )
    in_flight: int = setting(
        "Messages sent that the broker has not confirmed yet; the next one waits.",
        default=32,
        minimum=1,
        maximum=1000,
        flag="mqtt-in-flight",
    )
    home_assistant: bool = setting(
        "Describe the device to Home Assistant, which then shows it without being told.",
        default=False,
        flag="mqtt-home-assistant",
    )
    home_assistant_prefix: str = setting(
        "Home Assistant's discovery prefix.", default="homeassistant", flag="mqtt-home-assistant-prefix"
    )

    operations: Mapping[str, OperationSettings] = field(default_factory=lambda: OPERATIONS)
    """By name; each field is set."""
    telemetry: MqttTelemetrySettings = MqttTelemetrySettings()

    def __repr__(self) -> str:
        return f"MqttSettings(url={self.url!r}, device={self.device!r}, password=***)"
