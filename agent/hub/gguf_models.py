"""The GGUF models of a repository: which files are one model, and its quantization by their names. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from agent.errors import ArtifactError
from agent.hub.repository import RemoteFile

# llama.cpp's names (llama-quant.cpp, gguf-split); "UD-" is what unsloth puts before its own mixtures.
_QUANTIZATION: Final = re.compile(
    r"(?<![A-Za-z0-9])((?:UD-)?(?:I?Q[1-8](?:_(?:K|0|1|XXS|XS|S|M|L|XL|NL|4|8))*|TQ[12]_0|BF16|FP?16|FP?32|MXFP4(?:_MOE)?))"
    r"(?![A-Za-z0-9])",
    re.IGNORECASE,
)
_PART: Final = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})", re.DOTALL)
_NO_MODEL: Final = re.compile(r"(?:^|[-_.])(?:mmproj|imatrix|ggml-vocab)(?:[-_.]|$)", re.IGNORECASE)
"""A vision projector, what a quantizer measured, a vocabulary: no model by themselves."""
_LISTED: Final = 24
_REMOVED: Final = re.compile(r"Q4_0_[48]_[48]", re.IGNORECASE)
"""Layouts that llama.cpp no longer reads (pull request 10446); chosen only where they are asked for."""


@dataclass(frozen=True, kw_only=True)
class GgufModel:
    """One model: its files in order, its quantization in capitals ("" where the name tells none)."""

    stem: str
    quantization: str
    files: tuple[RemoteFile, ...]
    parts: int

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    @property
    def label(self) -> str:
        """What to write after the colon."""
        return self.quantization or self.files[0].path

    @property
    def outdated(self) -> bool:
        return _REMOVED.search(self.quantization) is not None

    def local_paths(self) -> tuple[str, ...]:
        """As the store calls the files."""
        if self.parts == 1:
            return ("model.gguf",)
        return tuple(f"model-{number:05d}-of-{self.parts:05d}.gguf" for number in range(1, self.parts + 1))


def gguf_models(files: Iterable[RemoteFile]) -> list[GgufModel]:
    """The models in a repository, the smallest first. Parts of a split one may be missing; `pick` says so."""
    sets: dict[tuple[str, int], list[RemoteFile]] = {}
    for file in files:
        path = PurePosixPath(file.path)
        if path.suffix.lower() != ".gguf" or _NO_MODEL.search(path.stem):
            continue
        match = _PART.fullmatch(path.stem)
        stem = str(path.with_name(match["stem"] if match else path.stem))
        sets.setdefault((stem, int(match["count"]) if match else 1), []).append(file)
    models = [
        GgufModel(
            stem=PurePosixPath(stem).name,
            quantization=_quantization(stem),
            files=tuple(sorted(parts, key=lambda file: file.path)),
            parts=count,
        )
        for (stem, count), parts in sets.items()
    ]
    return sorted(models, key=lambda model: (model.bytes, model.stem))


def pick(models: Sequence[GgufModel], choice: str, repository: str) -> GgufModel:
    """The model that `choice` names by its quantization, in any case, or by a file of it.

    Raises `ArtifactError`: there is none (it lists those there), there are several, or parts of it are missing.
    """
    wanted = choice.casefold()
    by_file = [model for model in models if any(wanted in _names(file) for file in model.files)]
    found = by_file or [model for model in models if model.quantization and model.quantization == _spelled(choice)]
    if not found:
        raise ArtifactError(
            f"{repository} has no {choice}.",
            hint=f"There are: {listed(models)}." if models else "It has no GGUF file at all.",
        )
    if len(found) > 1:
        names = ", ".join(model.files[0].path for model in found[:_LISTED])
        raise ArtifactError(
            f"{len(found)} models of {repository} are {choice}: {names}.",
            hint=f"Name the file: edge-agent models pull hf:{repository}:{found[0].files[0].path}",
        )
    if len(found[0].files) != found[0].parts:
        raise ArtifactError(
            f"{found[0].stem} has {found[0].parts} parts, and {len(found[0].files)} of them are in {repository}.",
            hint="Choose another, or ask its owner.",
        )
    return found[0]


def unambiguous(models: Sequence[GgufModel], repository: str) -> list[GgufModel]:
    """Those to choose from without being told which: one of each quantization, whole, that can be run.

    Raises `ArtifactError` where the files are of several models, which sizes cannot tell apart.
    """
    whole = [model for model in models if len(model.files) == model.parts and not model.outdated]
    families = {_family(model) for model in whole}
    if len(families) > 1:
        raise ArtifactError(
            f"{repository} holds {len(families)} different models: {', '.join(sorted(families)[:_LISTED])}.",
            hint=f"Say which: edge-agent models pull hf:{repository}:FILE, with one of "
            f"{', '.join(model.files[0].path for model in whole[:_LISTED])}.",
        )
    return whole


def listed(models: Sequence[GgufModel]) -> str:
    """Labels, smallest first, for a sentence."""
    labels = list(dict.fromkeys(model.label for model in models))
    more = f" and {len(labels) - _LISTED} more" if len(labels) > _LISTED else ""
    return ", ".join(labels[:_LISTED]) + more


def _names(file: RemoteFile) -> tuple[str, str]:
    path = file.path.casefold()
    return path, path.rpartition("/")[2]


def _quantization(stem: str) -> str:
    """The last one in the name, else in the folder's."""
    for piece in reversed(stem.split("/")):
        if found := _QUANTIZATION.findall(piece):
            return _spelled(found[-1])
    return ""


def _spelled(quantization: str) -> str:
    """In capitals, and F16 for FP16."""
    return re.sub(r"^FP(?=16|32)", "F", quantization.upper())


def _family(model: GgufModel) -> str:
    """The name without its quantization."""
    return _QUANTIZATION.sub("", model.stem).strip("-_. ").casefold()
