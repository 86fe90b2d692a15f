"""JSON objects of a checkpoint, whose values are checked as they are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from agent.errors import ArtifactError

LIMIT_BYTES: Final = 64 * 1024 * 1024
"""An index of 100,000 tensors is 10 MB."""
COUNT_LIMIT: Final = 2**31


def read_json(path: Path) -> dict[str, Any]:
    """The object in `path`. Raises `ArtifactError` where it is missing, too large, not JSON, or not an object."""
    try:
        with path.open("rb") as file:
            data = file.read(LIMIT_BYTES + 1)
    except FileNotFoundError:
        raise ArtifactError(
            f"{path.name} is missing from {path.parent}.", hint="Download the checkpoint again."
        ) from None
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}.") from None
    if len(data) > LIMIT_BYTES:
        raise ArtifactError(f"{path.name} is larger than {LIMIT_BYTES} bytes.")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path.name} is not valid JSON: {error}.", hint="Download the checkpoint again.") from None
    if not isinstance(value, dict):
        raise ArtifactError(f"{path.name} is not a JSON object.")
    return value


class Config:
    """A JSON file with typed access. Every error names the file, the key, the value and what was expected."""

    def __init__(self, path: Path) -> None:
        self.file = path.name
        self.values = read_json(path)

    def integer(self, key: str, default: int | None = None, *, least: int = 1) -> int:
        """From `least` to 2**31. Raises `ArtifactError` where it is neither there nor has a default."""
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= COUNT_LIMIT:
            raise self._fault(key, value, f"an integer from {least} to {COUNT_LIMIT}")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e30:
            raise self._fault(key, value, "a finite number")
        return float(value)

    def text(self, key: str, default: str | None = None) -> str:
        value = self._value(key, default)
        if not isinstance(value, str):
            raise self._fault(key, value, "a string")
        return value

    def flag(self, key: str, default: bool | None = None) -> bool:
        value = self._value(key, default)
        if not isinstance(value, bool):
            raise self._fault(key, value, "true or false")
        return value

    def _value(self, key: str, default: Any) -> Any:
        value = self.values.get(key)
        if value is not None:
            return value
        if default is None:
            raise ArtifactError(
                f"{self.file} has no {key}.", hint="It is not the configuration of this model.", param=key
            )
        return default

    def _fault(self, key: str, value: Any, expected: str) -> ArtifactError:
        return ArtifactError(f"{self.file}: {key}: expected {expected}, got {ascii(value)[:80]}.", param=key)
