"""A finished artifact, and how a command tells what it made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.terminal import print_json, size, table

if TYPE_CHECKING:
    from agent.store.manifest import Manifest

Columns = Mapping[str, tuple[str, str]]
"""Of the table: heading, to a key of the manifest's quality and the format of its number."""


@dataclass(frozen=True)
class Made:
    target: Path
    manifest: Manifest


def report(made: Sequence[Made], columns: Columns, *, json: bool) -> None:
    """One line per artifact with the numbers of its quality; or JSON, for scripts."""
    if json:
        print_json([_value(one) for one in made])
        return
    rows = [_row(one, columns) for one in made]
    if rows:
        numbers = range(2, 3 + len(columns))
        print(table(rows, ("ARTIFACT", "PRECISION", "SIZE", *columns, "GOOD"), right=tuple(numbers)))


def _row(made: Made, columns: Columns) -> list[str]:
    manifest, quality = made.manifest, made.manifest.quality
    numbers = [_number(quality.get(key), form) for key, form in columns.values()]
    good = "yes" if quality.get("passed") else "no, accepted"
    return [str(made.target), manifest.quantization, size(manifest.total_bytes), *numbers, good]


def _number(value: Any, form: str) -> str:
    return form.format(value) if isinstance(value, int | float) else "-"


def _value(made: Made) -> dict[str, Any]:
    manifest = made.manifest
    value: dict[str, Any] = {
        "path": str(made.target),
        "name": manifest.name,
        "version": manifest.version,
        "quantization": manifest.quantization,
        "bytes": manifest.total_bytes,
        "quality": manifest.quality,
    }
    if manifest.embedding_dim:
        value["embedding_dim"] = manifest.embedding_dim
    return value
