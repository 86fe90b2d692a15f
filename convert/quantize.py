"""GGUF to GGUF at fewer bits, by llama.cpp in this process."""

from __future__ import annotations

import ctypes
import os
import tempfile
from pathlib import Path

from agent.engines.llama.library import llama, log, start_backend
from agent.errors import ArtifactError, ModelLoadError, RequestError

_PREFIX = "LLAMA_FTYPE_MOSTLY_"


def quantizations() -> tuple[str, ...]:
    """Names that `quantize` takes, as llama.cpp calls them: "Q4_K_M", "Q8_0", ..."""
    return tuple(sorted(name.removeprefix(_PREFIX) for name in dir(llama) if name.startswith(_PREFIX)))


def quantize(source: Path, target: Path, kind: str, *, threads: int = 0) -> int:
    """Write `source` at quantization `kind` to `target`, whole or not at all. Returns the bytes written.

    `threads` 0 is one per core. Raises `RequestError` for an unknown `kind`, `ArtifactError` where `target` exists or
    `source` cannot be read, `ModelLoadError` where llama.cpp refuses the file.
    """
    if kind not in quantizations():
        raise RequestError(f"There is no quantization {kind!r}.", hint=f"Choose one of {', '.join(quantizations())}.")
    if target.exists():
        raise ArtifactError(f"{target} exists already.", hint="Choose another name, or remove it first.")
    if not source.is_file():
        raise ArtifactError(f"{source} is not a file.")
    start_backend()
    log.clear()
    parameters = llama.llama_model_quantize_default_params()
    parameters.ftype = getattr(llama, _PREFIX + kind)
    parameters.nthread = threads
    with tempfile.TemporaryDirectory(prefix=".quantize-", dir=target.parent) as folder:
        part = Path(folder) / "part.gguf"
        status = llama.llama_model_quantize(str(source).encode(), str(part).encode(), ctypes.byref(parameters))
        if status != 0:
            raise ModelLoadError(
                f"{source.name} cannot be quantized to {kind}: {log.reason() or f'llama.cpp says {status}'}.",
                hint="It must be a whole GGUF model, best of F32, F16 or BF16.",
            )
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.rename(target)
    return target.stat().st_size
