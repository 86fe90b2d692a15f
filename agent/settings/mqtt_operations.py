"""`[mqtt.operations.NAME]` in agent.toml: what the broker may ask this device to do, and how much of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from agent.settings.declaration import setting

BY_OPERATION: Final = "by operation, see below"


@dataclass(frozen=True, kw_only=True)
class OperationSettings:
    """None is the operation's own default, which `operation_settings` fills in."""

    allow: bool | None = setting("Whether the broker may ask for it.", default=None, default_doc=BY_OPERATION)
    concurrency: int | None = setting(
        "Commands that run at once; others wait in the order in which they came.",
        default=None,
        minimum=1,
        maximum=64,
        default_doc=BY_OPERATION,
    )
    per_hour: int | None = setting(
        "Commands that are taken in any hour; others fail at once.",
        default=None,
        minimum=0,
        maximum=100_000,
        default_doc=BY_OPERATION,
    )


OPERATIONS: Final[Mapping[str, OperationSettings]] = MappingProxyType(
    {
        "generate": OperationSettings(allow=True, concurrency=4, per_hour=3600),
        "embed": OperationSettings(allow=True, concurrency=4, per_hour=3600),
        "transcribe": OperationSettings(allow=True, concurrency=2, per_hour=1200),
        "diagnose": OperationSettings(allow=True, concurrency=1, per_hour=120),
        "benchmark": OperationSettings(allow=True, concurrency=1, per_hour=12),
        "model_load": OperationSettings(allow=False, concurrency=1, per_hour=60),
        "model_unload": OperationSettings(allow=False, concurrency=1, per_hour=60),
        "model_update": OperationSettings(allow=True, concurrency=8, per_hour=60),
        "model_rollback": OperationSettings(allow=False, concurrency=1, per_hour=12),
        "restart": OperationSettings(allow=False, concurrency=1, per_hour=4),
    }
)
"""Those that can be set, with their defaults. What can take a device out of work is off."""


def operation_settings(name: str, chosen: Mapping[str, Any]) -> OperationSettings:
    """The defaults of operation `name` with what `[mqtt.operations.NAME]` says; every field is set."""
    said = {key: value for key, value in chosen.items() if value is not None}
    return dataclasses.replace(OPERATIONS[name], **said)
