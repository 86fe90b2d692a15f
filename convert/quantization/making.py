"""From a plan to what the user asked for: a file, or an artifact folder with a manifest; measured, then renamed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from agent.errors import ArtifactError, RequestError
from agent.store.gguf_source import plan_gguf
from agent.store.manifest import Manifest
from agent.store.probe_report import one_line
from agent.terminal import Progress
from convert.artifact import new_artifact, whole_file
from convert.quality.gates import TEXT_GATES, check, not_measured
from convert.quality.text import measure_text
from convert.quantization.choose import probe_gguf
from convert.quantization.quantize import Plan, write

MODEL: Final = "model.gguf"

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """How to measure: on the text file `text`, or one that the source writes itself; `threads` 0 is one per core.

    `accept` keeps what misses its gates. `say` is told when it begins.
    """

    text: Path | None
    threads: int
    accept: bool
    say: Say


@dataclass(frozen=True, kw_only=True)
class Made:
    """`bytes` is the size of the model file, `peak_bytes` the most memory that making it took."""

    target: Path
    bytes: int
    peak_bytes: int
    quality: dict[str, Any] | None
    manifest: Manifest | None = None


def make_file(planned: Plan, target: Path, measurement: Measurement | None) -> Made:
    """The file `target`, whole or not at all; measured where `measurement` is given.

    Raises `QualityError` where it is below its gates and that is not accepted; `ArtifactError` where `target` exists;
    `DiskFullError`; what `quantize` raises.
    """
    with whole_file(target, planned.bytes) as part:
        peak_bytes = _write(planned, part)
        quality = _measure(planned, part, measurement) if measurement else None
        made_bytes = part.stat().st_size
    return Made(target=target, bytes=made_bytes, peak_bytes=peak_bytes, quality=quality)


def make_artifact(planned: Plan, target: Path, measurement: Measurement, *, name: str, version: str) -> Made:
    """The folder `target` with model.gguf and manifest.json, whole or not at all. Raises as `make_file` does."""
    with new_artifact(target, planned.bytes) as staged:
        model = staged.folder / MODEL
        peak_bytes = _write(planned, model)
        report = probe_gguf(model)
        draft = plan_gguf(model, name, version, report).draft
        fields = {key: value for key, value in msgspec.structs.asdict(draft).items() if key != "files"}
        quality = _measure(planned, model, measurement, embeds=draft.task == "embed")
        fields |= {
            "quantization": planned.recipe.level,
            "source": one_line(planned.header.path.name),
            "quality": quality,
        }
        manifest = staged.finish(**fields)
    made_bytes = manifest.total_bytes
    return Made(target=target, bytes=made_bytes, peak_bytes=peak_bytes, quality=quality, manifest=manifest)


def _write(planned: Plan, target: Path) -> int:
    with Progress(f"quantizing to {planned.recipe.level}") as progress:
        return write(planned, target, on_bytes=progress)


def _measure(planned: Plan, model: Path, measurement: Measurement, *, embeds: bool = False) -> dict[str, Any]:
    if embeds:
        quality = not_measured("it is an embedding model, and predicts no text")
    else:
        measurement.say(f"measuring against {planned.header.path.name}")
        try:
            quality = measure_text(planned.header.path, model, measurement.text, threads=measurement.threads)
        except RequestError:
            raise
        except ArtifactError as error:
            quality = not_measured(error.message)
    return check(quality, TEXT_GATES, accept=measurement.accept)
