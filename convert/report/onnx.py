"""The precisions of an ONNX model: made, measured against fp32, and timed in turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol

from agent.errors import RequestError
from agent.store.manifest import MemoryNeed
from agent.terminal import size
from convert.onnx.layers import PRECISIONS, Precision
from convert.report.level import Level, Rate, Subject
from convert.report.speed import ROUNDS

DEFAULT_PRECISIONS: Final = "fp32,int8"
REFERENCE: Final[Precision] = "fp32"
FOR_CUDA: Final = frozenset({"fp16"})
"""Most of ONNX Runtime's CPU kernels compute in float32: there fp16 costs conversions."""
FOR_CPU: Final = frozenset({"int8"})
"""Its CUDA provider has no DynamicQuantizeLinear (docs/OperatorKernels.md there): int8 layers would run on the CPU."""
RATE: Final = "rate"

Say = Callable[[str], None]


class Maker(Protocol):
    """What differs between tasks."""

    @property
    def subject(self) -> Subject: ...

    def write(self, precision: Precision, folder: Path) -> MemoryNeed:
        """The artifact's files, without the manifest, into the empty `folder`; and what running it takes."""

    def learn(self, folder: Path) -> None:
        """The fp32 artifact in `folder` is what the others are measured against."""

    def judge(self, folder: Path) -> dict[str, Any]:
        """The block of `gates.check` for an artifact, below its gates or not."""

    def pace(self, folder: Path, threads: int) -> float:
        """How fast the artifact is, in the unit of the subject's only speed."""


def read_precisions(text: str) -> tuple[Precision, ...]:
    """`fp32,int8,...`, each once. Raises `RequestError`."""
    asked = [part.strip().lower() for part in text.split(",")]
    for part in asked:
        if part not in PRECISIONS:
            raise RequestError(
                f"--quants: {ascii(part)[:40]} is no precision of an ONNX model.",
                hint=f"Choose from {', '.join(PRECISIONS)}.",
            )
    return tuple(precision for precision in dict.fromkeys(asked) if precision in PRECISIONS)


def measure(maker: Maker, precisions: Sequence[Precision], scratch: Path, *, threads: int, say: Say) -> list[Level]:
    """Make each precision in `scratch`, measure it, and time them all. `say` is told a line per level.

    Raises what `maker` does.
    """
    folders: dict[str, Path] = {}
    needs: dict[str, MemoryNeed] = {}
    for precision in dict.fromkeys((REFERENCE, *precisions)):
        folders[precision] = scratch / precision
        folders[precision].mkdir()
        needs[precision] = maker.write(precision, folders[precision])
    maker.learn(folders[REFERENCE])
    levels = []
    for precision in precisions:
        folder = folders[precision]
        level = Level(
            name=precision,
            file_bytes=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
            memory=needs[precision],
            quality=maker.judge(folder),
        )
        levels.append(level)
        shown = ", ".join(f"{column.heading} {column.show(level.quality)}" for column in maker.subject.columns)
        say(f"{precision}: {size(level.file_bytes)}, {shown}" + ("" if level.passed else ", below its gates"))
    paces: dict[str, list[float]] = {level.name: [] for level in levels}
    for number in range(1, ROUNDS + 1):
        say(f"timing all levels in turns, round {number} of {ROUNDS}")
        for level in levels:
            paces[level.name].append(maker.pace(folders[level.name], threads))
    return [replace(level, rates={RATE: Rate(tuple(paces[level.name]))}) for level in levels]
