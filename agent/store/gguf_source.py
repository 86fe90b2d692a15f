"""A bare GGUF file, or all parts of a split one, with what the probe found in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from agent.errors import ArtifactError
from agent.store.manifest import Manifest, MemoryNeed
from agent.store.names import suggest_name
from agent.store.plan import ImportPlan, source_file
from agent.store.probe_report import ProbeReport, one_line

# llama.cpp finds the other parts of a split model by this very name (llama_split_path).
_PART: Final = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE | re.DOTALL)


def split_parts(path: Path) -> list[Path]:
    """All parts of the split model that `path` is one of, in order; `[path]` for a whole one.

    Raises `ArtifactError` naming parts that are missing.
    """
    match = _PART.fullmatch(path.name)
    if match is None:
        return [path]
    count = int(match["count"])
    suffix = path.name[match.end("count") :]
    present = {entry.name for entry in path.parent.iterdir()} if path.parent.is_dir() else set()
    names = [f"{match['stem']}-{number:05d}-of-{count:05d}{suffix}" for number in range(1, count + 1)]
    missing = [name for name in names if name not in present]
    if missing or not names:
        shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise ArtifactError(
            f"{path.name} is one of {count} parts, and {len(missing)} are missing: {shown or path.name}.",
            hint="Put all parts into one folder and import the first.",
        )
    return [path.parent / name for name in names]


def plan_gguf(path: Path, name: str | None, version: str | None, probe: ProbeReport) -> ImportPlan:
    """The plan for a GGUF file. The name defaults to the file's own; files are stored as `model.gguf`, or
    `model-00001-of-00003.gguf` and so on. Raises `ArtifactError`.
    """
    parts = split_parts(path)
    if len(parts) != probe.split_count:
        raise ArtifactError(
            f"{path.name} says that it is one of {probe.split_count} parts, but there are {len(parts)} by its name.",
            hint="Keep the names that the parts were published with, NAME-00001-of-0000N.gguf.",
        )
    match = _PART.fullmatch(path.name)
    stem = match["stem"] if match else path.stem
    stored = [f"model-{i:05d}-of-{len(parts):05d}.gguf" for i in range(1, len(parts) + 1)] if match else ["model.gguf"]
    return ImportPlan(
        draft=Manifest(
            name=name or suggest_name(stem),
            version=version or "",
            task=probe.task,
            format="gguf",
            files=(),
            context=probe.context_train,
            embedding_dim=probe.embedding_dim if probe.task == "embed" else 0,
            quantization=one_line(probe.file_type),
            memory_bytes=MemoryNeed(
                weights=probe.size_bytes,
                per_1k_context=probe.kv_bytes_per_1k_context,
                compute=probe.compute_bytes,
            ),
            source=one_line(path.name, limit=255),
            license=one_line(probe.license) if probe.license else None,
            metadata={
                "architecture": one_line(probe.architecture),
                "title": one_line(probe.name) if probe.name else None,
                "parameters": probe.parameters,
                "layers": probe.layers,
                "vocab_tokens": probe.vocab_tokens,
                "chat_template": probe.has_chat_template,
                "pooling": one_line(probe.pooling) if probe.pooling else None,
                "can_shift": probe.can_shift,
                **({"sampling": probe.sampling} if probe.sampling else {}),
            },
        ),
        files=tuple(source_file(part, target) for part, target in zip(parts, stored, strict=True)),
    )
