"""Settings as values: what exists, and of which type. `agent.config` fills them from flags, environment and file."""

from agent.settings.daemon import ApiKey, Settings
from agent.settings.declaration import Declaration, declarations
from agent.settings.flags import flags
from agent.settings.model import LoraSettings, ModelSettings, SamplingSettings
from agent.settings.mqtt import MqttSettings
from agent.settings.updates import UpdatesSettings

__all__ = [
    "ApiKey",
    "Declaration",
    "LoraSettings",
    "ModelSettings",
    "MqttSettings",
    "SamplingSettings",
    "Settings",
    "UpdatesSettings",
    "declarations",
    "flags",
]
