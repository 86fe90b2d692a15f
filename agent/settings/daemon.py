# ruff: noqa: RUF009 - `setting` makes a dataclass field
"""The settings of the daemon and of the command line: each declared once, here."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from agent.settings.declaration import setting
from agent.settings.model import ModelSettings
from agent.settings.mqtt import MqttSettings
from agent.settings.updates import UpdatesSettings


@dataclass(frozen=True, repr=False)
class ApiKey:
    """A named secret that lets a client in. `sha256` is its digest in hex; `key` is known only where it was typed."""

    name: str
    sha256: str
    key: str | None = field(default=None, compare=False)

    @classmethod
    def of(cls, key: str, name: str) -> ApiKey:
        return cls(name, hashlib.sha256(key.encode()).hexdigest(), key)

    def __repr__(self) -> str:
        return f"ApiKey(name={self.name!r}, key=***)"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that can be set, in its final type. Made by `agent.config.load_settings`."""

    profile: str | None = setting(
        "The board profile to use, by name; docs/profiles.md lists them.", default=None, default_doc="found by looking"
    )
    state_dir: Path = setting(
        "Where models and the daemon's own files live.",
        default_doc="`$STATE_DIRECTORY` under systemd, else `~/.local/state/edge-agent`",
    )
    host: str = setting("Address to listen on. Anything but loopback needs an API key.", default="127.0.0.1")
    port: int = setting("Port to listen on; 0 lets the system choose.", default=8484, minimum=0, maximum=65535)
    log_level: Literal["debug", "info", "warning", "error"] = setting("How much is logged.", default="info")
    log_format: Literal["text", "json"] = setting("How a log line looks.", default="text")
    allowed_hosts: tuple[str, ...] = setting(
        "Names, besides its own address, that a request's Host header may carry.", default=(), flag="allowed-host"
    )
    allowed_origins: tuple[str, ...] = setting(
        "Web origins that browsers may call from (CORS), like https://home.example.", default=(), flag="allowed-origin"
    )
    max_body_mb: int = setting("Largest request body.", default=8, unit="MB", minimum=1, maximum=1024)
    max_audio_mb: int = setting(
        "Largest audio file to transcribe.", default=1024, unit="MB", minimum=1, maximum=1_048_576
    )
    header_timeout_s: float = setting(
        "How long a client may take to send a request's headers.", default=10.0, unit="seconds", minimum=1, maximum=600
    )
    body_timeout_s: float = setting(
        "How long a client may take to send a request's body; of an audio file, each 64 KiB.",
        default=60.0,
        unit="seconds",
        minimum=1,
        maximum=3600,
    )
    request_timeout_s: float = setting(
        "How long a request may wait for its turn when it names no deadline.",
        default=300.0,
        unit="seconds",
        minimum=1,
        maximum=86_400,
    )
    queue_capacity: int = setting(
        "Requests that may wait; the next one gets 429.", default=32, minimum=1, maximum=100_000
    )
    memory_budget_mb: int | None = setting(
        "Memory that all models together may take.",
        default=None,
        unit="MB",
        minimum=1,
        maximum=16_777_216,
        default_doc="from the board's profile and what is free",
    )
    keep_alive_s: float = setting(
        "How long an idle model stays loaded: 0 unloads it at once, -1 never.",
        default=300.0,
        unit="seconds",
        minimum=-1,
        maximum=31_536_000,
    )
    starter_models: Literal["auto", "always", "never"] = setting(
        "Whether the small models that ship with edge-agent are served; auto: where no other model does their task.",
        default="auto",
    )
    heartbeat_s: float = setting(
        "How often a worker is asked whether it lives.", default=1.0, unit="seconds", minimum=0.1, maximum=60
    )
    hang_timeout_s: float = setting(
        "How long one decode step may take before the worker is killed.",
        default=120.0,
        unit="seconds",
        minimum=1,
        maximum=3600,
    )
    shutdown_grace_s: float = setting(
        "How long running requests may go on after a stop was asked for.",
        default=10.0,
        unit="seconds",
        minimum=0,
        maximum=3600,
    )
    microphone: str | None = setting(
        "The microphone to listen with: its index, its name, or a part of its name.",
        default=None,
        default_doc="the system's default",
    )
    microphone_start: bool = setting(
        "Open the microphone when the daemon starts, and hold it open until it is stopped.", default=False
    )
    live_model: str | None = setting(
        "The model that transcribes the microphone.", default=None, default_doc="the only one that transcribes"
    )
    live_language: str | None = setting(
        "What is spoken into the microphone, as a code like de.", default=None, default_doc="the model finds out"
    )
    live_prompt: str | None = setting(
        "Text that might have come before, for the microphone: names, spelling, punctuation.", default=None
    )

    power_command: str | None = setting(
        "A command that prints watts: the meter to believe, before the board's own.",
        default=None,
        default_doc="what the board's profile names",
    )
    power_topic: str | None = setting(
        "A topic of the MQTT broker on which a smart plug says what the board draws: the meter to believe, before the"
        " board's own.",
        default=None,
    )
    power_json_key: str | None = setting(
        "Where the watts are in what the plug sends, like ENERGY.Power.",
        default=None,
        default_doc="a number alone, or the places that usual plugs have",
    )
    power_stale_s: float = setting(
        "A reading of the plug counts no longer than this.",
        default=60.0,
        unit="seconds",
        minimum=1,
        maximum=3600,
    )
    power_idle_watts: float = setting(
        "What the board draws at rest on the meter that is used; 0: it is learned while nothing runs.",
        default=0.0,
        unit="watts",
        minimum=0,
        maximum=5000,
    )

    governor_mode: Literal["performance", "balanced", "efficient", "quiet", "off"] | None = setting(
        "How heat, battery and power are answered: docs/power.md.",
        default=None,
        default_doc="balanced; off where there is no thermometer, no battery and no meter",
    )
    power_target_watts: float | None = setting(
        "What the board shall draw at most, by its meter.", default=None, unit="watts", minimum=0.1, maximum=5000
    )
    power_target_joules_per_token: float | None = setting(
        "What a token shall cost at most, by the meter.", default=None, unit="joules", minimum=0.000001, maximum=10_000
    )

    api_keys: tuple[ApiKey, ...] = ()
    models: Mapping[str, ModelSettings] = field(default_factory=dict)
    mqtt: MqttSettings = MqttSettings()
    updates: UpdatesSettings = UpdatesSettings()
    profile_overrides: Mapping[str, Any] = field(default_factory=dict)
    config_file: Path | None = None

    @property
    def idle_limit_s(self) -> float | None:
        """`keep_alive_s` with "never" as None."""
        return forever(self.keep_alive_s)

    def model(self, name: str) -> ModelSettings:
        """The settings of any model, with or without a `[models.NAME]` table."""
        return self.models.get(name) or ModelSettings(keep_alive_s=self.idle_limit_s)


def forever(seconds: float) -> float | None:
    """A keep-alive as the runtime takes it: negative is None, which never ends."""
    return None if seconds < 0 else seconds
