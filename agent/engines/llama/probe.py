"""The probe: `python -m agent.engines.llama.probe FILE` prints what a GGUF file is, as one JSON object.

A process of its own, because the file may be anything: it may crash the parser, hang it, or ask for a terabyte. The
address space is limited, so that a hostile length fails as an allocation. On failure the object is `{"error": {...}}`
and the exit status 1; a file that crashes llama.cpp ends the process by a signal.
"""

from __future__ import annotations

import contextlib
import math
import os
import resource
import sys
from pathlib import Path
from typing import Final

import msgspec

from agent.engines.llama.library import llama, only_errors_logged, start_backend
from agent.engines.llama.model import EmbeddingOnlyError, LlamaModel
from agent.errors import EdgeAgentError
from agent.runtime.wire.errors import WireError
from agent.runtime.wire.options import LlamaOptions
from agent.store.probe_report import ProbeReport

GIB = 1024**3
_LARGE_CONTEXT_TOKENS = 2048
_SAMPLING: Final = {
    "general.sampling.temp": "temperature",
    "general.sampling.top_k": "top_k",
    "general.sampling.top_p": "top_p",
    "general.sampling.min_p": "min_p",
    "general.sampling.xtc_probability": "xtc_probability",
    "general.sampling.xtc_threshold": "xtc_threshold",
    "general.sampling.penalty_last_n": "repeat_last_n",
    "general.sampling.penalty_repeat": "repeat_penalty",
}
"""GGUF's keys (gguf.constants, llama.h LLAMA_MODEL_META_KEY_SAMPLING_*), and the fields of `Sampling` that they set."""
_CPU_SECONDS = 120


def probe(path: Path) -> ProbeReport:
    """Open `path` without its weights, at two context sizes, whose difference is what context costs.

    Raises `ModelLoadError`.
    """
    model = _open(path, _LARGE_CONTEXT_TOKENS)
    large = model.memory(overhead_bytes=0, prefix_cache_bytes=0)
    large_tokens = model.context_tokens
    small_tokens = large_tokens // 2
    with only_errors_logged():
        options = _options(small_tokens, embedding=model.facts.embeds)
        halved = LlamaModel(path, options, dry=True)
    small = halved.memory(overhead_bytes=0, prefix_cache_bytes=0)
    halved.close()
    facts, metadata = model.facts, model.facts.metadata
    architecture = metadata.get("general.architecture", "unknown")
    report = ProbeReport(
        architecture=architecture,
        name=metadata.get("general.name"),
        parameters=facts.parameters,
        size_bytes=facts.weights_bytes,
        file_type=_file_type(model),
        context_train=facts.train_context_tokens,
        embedding_dim=facts.embedding_dim,
        vocab_tokens=model.vocabulary.size,
        layers=facts.layers,
        pooling=model.pooling if facts.embeds else None,
        task="embed" if facts.embeds else "generate",
        has_chat_template="tokenizer.chat_template" in metadata,
        license=metadata.get("general.license"),
        kv_bytes_per_1k_context=max(0, (large.kv_bytes - small.kv_bytes) * 1024 // (large_tokens - small_tokens)),
        compute_bytes=large.compute_bytes,
        split_count=int(metadata.get("split.count", "0")) or 1,
        sampling=_sampling(metadata),
        can_shift=bool(llama.llama_memory_can_shift(llama.llama_get_memory(model.context))),
    )
    model.close()
    return report


def _options(context_tokens: int, *, embedding: bool) -> LlamaOptions:
    return LlamaOptions(context_tokens=context_tokens, slots=1, embedding=embedding, flash_attention="auto")


def _open(path: Path, context_tokens: int) -> LlamaModel:
    """As a generation model, unless it says that it embeds."""
    with only_errors_logged():
        try:
            return LlamaModel(path, _options(context_tokens, embedding=False), dry=True)
        except EmbeddingOnlyError:
            return LlamaModel(path, _options(context_tokens, embedding=True), dry=True)


def _sampling(metadata: dict[str, str]) -> dict[str, float]:
    """llama.cpp hands numbers out as text; what is not one says nothing."""
    said: dict[str, float] = {}
    for key, field in _SAMPLING.items():
        with contextlib.suppress(KeyError, ValueError):
            said[field] = float(metadata[key])
    return {field: value for field, value in said.items() if math.isfinite(value)}


def _file_type(model: LlamaModel) -> str:
    name = llama.llama_ftype_name(llama.llama_model_ftype(model.model))
    text: str = (name or b"unknown").decode("utf-8", "replace")
    text = text.removeprefix("(guessed) ").removeprefix("all ").removeprefix("mostly ").strip()
    for suffix, letter in ((" - Small", "_S"), (" - Medium", "_M"), (" - Large", "_L")):
        text = text.replace(suffix, letter)
    return text.split(" - ")[0]


def main() -> int:
    """Probe the file named on the command line."""
    path = Path(sys.argv[1])
    with contextlib.suppress(OSError, ValueError):  # a limit that the system does not have protects nothing
        size = sum(part.stat().st_size for part in path.parent.glob("*.gguf")) if path.parent.is_dir() else 0
        resource.setrlimit(resource.RLIMIT_AS, (4 * GIB + size, 4 * GIB + size))
        resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        start_backend()
        answer = msgspec.json.encode(probe(path))
        status = 0
    except EdgeAgentError as error:
        wire = WireError(code=error.code, message=error.message, hint=error.hint, param=error.param)
        answer, status = msgspec.json.encode({"error": wire}), 1
    except (MemoryError, ValueError, OSError) as error:
        wire = WireError(code="model_load_failed", message=f"{path.name} cannot be read: {error or 'out of memory'}.")
        answer, status = msgspec.json.encode({"error": wire}), 1
    sys.stdout.buffer.write(answer + b"\n")
    sys.stdout.flush()
    os._exit(status)  # without llama.cpp's destructors: a hostile file may have left anything behind


if __name__ == "__main__":
    main()
