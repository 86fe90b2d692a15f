"""Vectors of a GGUF embedding model, to be compared with those of the unquantized one (`convert.quality.vectors`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from agent.engines.llama.batch import Batch
from agent.engines.llama.library import llama, log, only_errors_logged, start_backend
from agent.engines.llama.vocabulary import Vocabulary
from agent.errors import ModelLoadError
from agent.hardware.board import detect
from convert.quality.gates import Gate

Vectors = npt.NDArray[np.float32]

GATES: Final = (
    Gate("mean_cosine", 0.97, "least", "mean cosine to the unquantized model's vectors"),
    Gate("top1_agreement", 0.9, "least", "share of sentences with the same nearest neighbor"),
)
"""Looser than those of an ONNX model at INT8: GGUF has levels of far fewer bits, which people choose knowingly. Where
they stand between the levels of all-MiniLM-L6-v2 is in docs/convert-gguf.md."""

_TOKENS: Final = 512
"""Longer sentences are cut."""
_POOLING_NONE: Final = 0


def embed(path: Path, sentences: Sequence[str], *, threads: int) -> Vectors:
    """Vectors of length 1, [sentences, dimension], one sentence at a time, on the CPU.

    `threads` 0 is one per core. Raises `ModelLoadError` for a model that cannot be loaded or run.
    """
    start_backend()
    log.clear()
    parameters = llama.llama_model_default_params()
    parameters.n_gpu_layers = 0
    with only_errors_logged():  # the probe has said what there is to say
        model = llama.llama_model_load_from_file(str(path).encode(), parameters)
    context = None
    try:
        if model:
            context = _open_context(model, threads or detect().usable_cores)
        if not context:
            raise ModelLoadError(f"{path.name} cannot be loaded: {log.reason() or 'llama.cpp refused it'}.")
        vocabulary, batch = Vocabulary(model), Batch(_TOKENS)
        limit = min(_TOKENS, llama.llama_model_n_ctx_train(model) or _TOKENS)
        found = np.empty((len(sentences), llama.llama_model_n_embd(model)), np.float32)
        for row, sentence in enumerate(sentences):
            tokens = vocabulary.tokenize(sentence, add_special=True, parse_special=False)[:limit]
            batch.clear()
            batch.add(tokens, 0, 0, outputs=b"\x01" * len(tokens))
            if memory := llama.llama_get_memory(context):
                llama.llama_memory_clear(memory, True)
            if status := llama.llama_decode(context, batch.struct()):
                raise ModelLoadError(f"{path.name} cannot be run: {log.reason() or f'llama.cpp says {status}'}.")
            if llama.llama_pooling_type(context) == _POOLING_NONE:
                values = llama.llama_get_embeddings_ith(context, len(tokens) - 1)
            else:
                values = llama.llama_get_embeddings_seq(context, 0)
            found[row] = values[: found.shape[1]]
    finally:
        if context:
            llama.llama_free(context)
        if model:
            llama.llama_model_free(model)
    if not np.isfinite(found).all():
        raise ModelLoadError(f"{path.name} gives vectors that are not finite.")
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    return np.asarray(found / np.maximum(lengths, 1e-12), np.float32)


def _open_context(model: Any, threads: int) -> Any:
    parameters = llama.llama_context_default_params()
    parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = parameters.n_outputs_max = _TOKENS
    parameters.n_seq_max = 1
    parameters.n_threads = parameters.n_threads_batch = threads
    parameters.embeddings = True
    parameters.offload_kqv = parameters.op_offload = False
    parameters.no_perf = True
    return llama.llama_init_from_model(model, parameters)
