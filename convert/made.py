"""Finished artifacts, and how a command tells what it made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.terminal import print_json, size, table
from convert.quality.gates import QualityError

if TYPE_CHECKING:
    from agent.store.manifest import Manifest

Columns = Mapping[str, tuple[str, str]]
"""Of the table: heading, to a key of the manifest's quality and the format of its number."""


@dataclass(frozen=True)
class Made:
    target: Path
    manifest: Manifest


@dataclass
class Results:
    """`made` are the artifacts that are there, `refused` says in words what was not good enough."""

    made: list[Made] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def take(self, label: str, make: Callable[[], Made]) -> None:
        """Make one more; the others go on where its quality misses a gate."""
        try:
            self.made.append(make())
        except QualityError as error:
            self.refused.append(f"{label}: {error.message}")

    def tell(self, columns: Columns, *, json: bool) -> None:
        """On standard output. Raises `QualityError` for what was refused."""
        _report(self.made, columns, json=json)
        if self.refused:
            raise QualityError(" ".join(self.refused), hint="--accept-quality keeps it all the same.")


def _report(made: Sequence[Made], columns: Columns, *, json: bool) -> None:
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
