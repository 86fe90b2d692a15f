"""`diagnose`: a report for somebody far away, without anything that is secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from agent.fleet.commands.device import Device
from agent.fleet.commands.operation import NoArgs, Operation, Pieces

HIDDEN: Final = "(hidden)"
_SECRET: Final = re.compile(
    r"password|passwd|passphrase|secret|credential|authorization|private|(^|[_-])(pwd|token|key|keys|apikey)$", re.I
)
_IN_URL: Final = re.compile(r"(?<=://)[^/@\s]+@")


class DiagnoseOperation(Operation[NoArgs]):
    name = "diagnose"
    title = "Reports how the device, its models and its connections stand."
    repeatable = True
    args = NoArgs

    def __init__(self, device: Device) -> None:
        self._device = device

    async def run(self, args: NoArgs, *, pieces: Pieces) -> Mapping[str, Any]:
        report: Mapping[str, Any] = without_secrets(msgspec.to_builtins(await self._device.diagnose(), str_keys=True))
        return report


def without_secrets(value: Any) -> Any:
    """The same with what a key's name or a URL gives away as secret hidden. The device leaves secrets out itself: this
    is the second fence."""
    if isinstance(value, dict):
        return {key: _kept(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(inner) for inner in value]
    return _IN_URL.sub(f"{HIDDEN}@", value) if isinstance(value, str) else value


def _kept(key: str, value: Any) -> Any:
    """Numbers and yes or no are no secrets: `tokens`, `has_password`."""
    if _SECRET.search(key) and value is not None and not isinstance(value, bool | int | float):
        return HIDDEN
    return without_secrets(value)
