"""The form of an action: what a spoken or written request asks a device for."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, Final

SCHEMA_FILE: Final = Path(__file__).resolve().parent / "action.schema.json"


@cache
def action_schema() -> dict[str, Any]:
    """A JSON Schema. docs/starter-models.md says what each action means."""
    schema: dict[str, Any] = json.loads(SCHEMA_FILE.read_text("utf-8"))
    return schema
