"""The tables of docs/configuration.md: `python -m agent.settings.reference` prints them, a test compares."""

from __future__ import annotations

from collections.abc import Iterator

from agent.settings.daemon import Settings
from agent.settings.declaration import Declaration, declarations
from agent.settings.model import LoraSettings, ModelSettings, SamplingSettings
from agent.settings.mqtt import MqttSettings
from agent.settings.mqtt_operations import OperationSettings
from agent.settings.mqtt_telemetry import MqttTelemetrySettings
from agent.settings.updates import UpdatesSettings


def tables() -> dict[str, list[str]]:
    """Markdown tables by what they describe, as lines."""
    return {
        "agent.toml": list(_table(Settings, flags=True)),
        "[models.NAME]": list(_table(ModelSettings)),
        "[models.NAME.sampling]": list(_table(SamplingSettings)),
        "lora": list(_table(LoraSettings)),
        "[mqtt]": list(_table(MqttSettings, flags=True)),
        "[mqtt.operations.NAME]": list(_table(OperationSettings)),
        "[mqtt.telemetry]": list(_table(MqttTelemetrySettings)),
        "[updates]": list(_table(UpdatesSettings, flags=True)),
    }


def _table(cls: type, *, flags: bool = False) -> Iterator[str]:
    heads = ["key", *(["flag, variable"] if flags else []), "value", "default", "what it does"]
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for declaration in declarations(cls).values():
        names = [f"`--{declaration.flag}` `{declaration.environment}`"] if flags else []
        cells = [f"`{declaration.name}`", *names, declaration.expected, _default(declaration), declaration.doc]
        yield f"| {' | '.join(cells)} |"


def _default(declaration: Declaration) -> str:
    return "required" if declaration.required and not declaration.default_doc else declaration.default_text


if __name__ == "__main__":
    for name, lines in tables().items():
        print(f"{name}\n")
        print("\n".join(lines) + "\n")
