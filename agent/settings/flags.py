"""Every setting that has a flag and an environment variable, by the name under which the command line keeps it."""

from __future__ import annotations

from agent.settings.daemon import Settings
from agent.settings.declaration import Declaration, declarations
from agent.settings.mqtt import MqttSettings
from agent.settings.updates import UpdatesSettings


def flags() -> dict[str, Declaration]:
    """Those of the file's top level as they are called there, those of `[mqtt]` as `mqtt.NAME`, `[updates]` alike."""
    found = dict(declarations(Settings))
    for table, cls in (("mqtt", MqttSettings), ("updates", UpdatesSettings)):
        found |= {f"{table}.{name}": declaration for name, declaration in declarations(cls).items()}
    return found
