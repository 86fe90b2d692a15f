"""`--imatrix FILE`: an imatrix as it is, or a text that one is collected from."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from agent.errors import ArtifactError
from convert.artifact import whole_file
from convert.quantization import child, job
from convert.quantization.header import MAGIC, Header
from convert.quantization.imatrix import read_imatrix

_SMALL_MODEL_BYTES: Final = 32 * 1024 * 1024
"""Below this, threads wait for each other longer than they work (convert/quality/text.py)."""
_LOOKED_AT_BYTES: Final = 4096


def is_text(path: Path) -> bool:
    """Whether `path` is a text to collect from; otherwise it is an imatrix. Raises `ArtifactError` for no file."""
    if not path.is_file():
        raise ArtifactError(f"{path} is not a file." if path.exists() else f"{path} does not exist.")
    try:
        with path.open("rb") as file:
            start = file.read(_LOOKED_AT_BYTES)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}.") from None
    return not start.startswith(MAGIC) and b"\0" not in start and path.suffix != ".dat"


def collect_imatrix(
    header: Header,
    text: Path,
    target: Path,
    *,
    chunks: int = 0,
    threads: int = 0,
    on_chunk: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Collect an imatrix of a model over `text` into the new file `target`, whole or not at all.

    `chunks` of 512 tokens, 0 for all; `threads` 0 is one per core, and a single one for small models. Raises
    `ArtifactError`, `RequestError` for a text that is too short, `ModelLoadError`.
    """
    cores = 1 if header.file_bytes < _SMALL_MODEL_BYTES else usable_cores()

    def on_answer(message: job.Answer) -> None:
        if isinstance(message, job.At):
            on_chunk(message.done, message.total)

    with whole_file(target) as part:
        asked = job.Collect(
            source=str(header.path.absolute()),
            target=str(part),
            text=str(text.absolute()),
            chunks=chunks,
            threads=threads or cores,
        )
        child.run(asked, subject=header.path.name, on_answer=on_answer)
        read_imatrix(part)


def keep(found: Path, target: Path) -> None:
    """A copy of a collected imatrix for other levels. Raises `ArtifactError` where `target` exists."""
    with whole_file(target, found.stat().st_size) as part:
        shutil.copyfile(found, part)


def usable_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
