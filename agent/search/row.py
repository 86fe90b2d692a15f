"""One row of a source."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """One text to be found. `id` is unique in the collection; `line` is where the source has it, for messages."""

    id: str
    text: str
    metadata: dict[str, Any] = field(default_factory=dict)
    line: int = 0
