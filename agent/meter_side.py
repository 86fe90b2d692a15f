"""Which meter the settings ask for: a command, a smart plug's topic, or else the one of the board's profile."""

from __future__ import annotations

import socket

from agent.energy_side import Energy
from agent.errors import ConfigError
from agent.hardware.power.choose import choose_meter
from agent.hardware.power.pushed import PushedMeter
from agent.settings import Settings
from agent.wiring import power_command


def make_energy(settings: Settings, profile_meter: str) -> Energy:
    """As the settings have it; without a word from them, by the meter that the board's profile names. Raises
    `ConfigError`."""
    command, topic = power_command(settings), power_topic(settings, socket.gethostname())
    pushed = None if topic is None else PushedMeter(f"MQTT topic {topic}", stale_s=settings.power_stale_s)
    return Energy(
        lambda: choose_meter(profile_meter, command=command, pushed=pushed),
        idle_watts=settings.power_idle_watts,
        pushed=pushed,
    )


def power_topic(settings: Settings, hostname: str) -> str | None:
    """The topic of the smart plug. Raises `ConfigError` for one that is not another device's, or that nobody brings."""
    topic = settings.power_topic
    if not topic:
        return None
    from agent.fleet.topics import TOPIC_BYTES  # without a broker nothing of MQTT is loaded
    from agent.mqtt import topics_of

    def wrong(reason: str) -> ConfigError:
        return ConfigError(f"power_topic = {topic!r}: {reason}.", param="power_topic")

    if not settings.mqtt.url:
        raise wrong("there is no broker to get it from; set mqtt.url")
    if settings.power_command:
        raise wrong("there is a power_command, too; leave one of them out")
    not_one = any(sign in topic for sign in "+#\0") or topic.startswith("$")
    if not_one or len(topic.encode(errors="replace")) > TOPIC_BYTES:
        raise wrong("expected the full name of one topic, without + and #")
    own = topics_of(settings.mqtt, hostname).service
    if topic == own or topic.startswith(f"{own}/"):
        raise wrong(f"below {own} is what edge-agent itself says and is told")
    return topic
