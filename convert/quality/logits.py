"""Logits of a GGUF model for token ids of ours, computed so that the same file gives the same numbers again.

On the CPU, without flash attention, and with a KV cache of 32 bits: what differs between two models is then their
weights alone.
"""

from __future__ import annotations

import ctypes
from array import array
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from agent.engines.llama.batch import Batch
from agent.engines.llama.library import llama, log, start_backend
from agent.engines.llama.vocabulary import Vocabulary
from agent.errors import ArtifactError, ModelLoadError

Floats = npt.NDArray[np.float32]

LOGITS_BYTES: Final = 64 * 1024 * 1024
"""At most this much for the logits of one step: 110 tokens of a vocabulary of 152k, 128 tokens of smaller ones."""

_STEP_TOKENS: Final = 128
_KV_TYPES: Final = {"f32": 0, "f16": 1}  # ggml_type
_FLASH_OFF: Final = 0


class LogitsModel:
    """A GGUF model that answers token ids with logits. A context manager: leaving it frees the model.

    `windows` sequences of up to `window_tokens` tokens each can be fed at a time. Raises `ModelLoadError` for a file
    that llama.cpp cannot load, `ArtifactError` for a model that predicts no next token.

    Attributes: `vocabulary`; `step_tokens`, the most tokens that one `feed` takes; `trained_tokens`, the longest
    context the model was trained on.
    """

    def __init__(
        self, path: Path, *, window_tokens: int, windows: int = 1, threads: int, kv_type: Literal["f32", "f16"] = "f32"
    ) -> None:
        if not path.is_file():
            raise ArtifactError(f"{path} is not a file.")
        start_backend()
        log.clear()
        self.path = path
        self._context: Any = None
        parameters = llama.llama_model_default_params()
        parameters.n_gpu_layers = 0
        parameters.load_mode = llama.LLAMA_LOAD_MODE_MMAP
        self._model: Any = llama.llama_model_load_from_file(str(path).encode(), parameters)
        if not self._model:
            raise _load_error(path, "it is not a GGUF file that this llama.cpp can load")
        try:
            self._refuse_encoder()
            self.vocabulary = Vocabulary(self._model)
            self.trained_tokens: int = llama.llama_model_n_ctx_train(self._model)
            fitting = LOGITS_BYTES // (4 * max(1, self.vocabulary.size))
            self.step_tokens = max(windows, min(_STEP_TOKENS, fitting))
            self._open_context(window_tokens, windows, threads, _KV_TYPES[kv_type])
        except BaseException:
            self.close()
            raise
        self._batch = Batch(self.step_tokens)

    def _refuse_encoder(self) -> None:
        room = ctypes.create_string_buffer(64)
        llama.llama_model_meta_val_str(self._model, b"general.architecture", room, 64)
        key = room.value + b".attention.causal"
        bidirectional = llama.llama_model_meta_val_str(self._model, key, room, 64) > 0 and room.value == b"false"
        if (
            bidirectional
            or llama.llama_model_has_encoder(self._model)
            or not llama.llama_model_has_decoder(self._model)
        ):
            raise ArtifactError(
                f"{self.path.name} does not predict the next token of a text, so it has no perplexity.",
                hint="Perplexity and KL divergence are for models that generate text.",
            )

    def _open_context(self, window_tokens: int, windows: int, threads: int, kv_type: int) -> None:
        parameters = llama.llama_context_default_params()
        parameters.n_ctx = window_tokens * windows
        parameters.n_batch = parameters.n_ubatch = self.step_tokens
        parameters.n_outputs_max = self.step_tokens
        parameters.n_outputs_max_per_seq = 0  # as many as n_outputs_max
        parameters.n_seq_max = windows
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.type_k = parameters.type_v = kv_type
        parameters.flash_attn_type = _FLASH_OFF
        parameters.kv_unified = False
        parameters.offload_kqv = parameters.op_offload = False
        parameters.no_perf = True
        self._context = llama.llama_init_from_model(self._model, parameters)
        if not self._context:
            raise _load_error(self.path, "llama.cpp could not make a context for it")

    def clear(self) -> None:
        """Forget all sequences."""
        llama.llama_memory_clear(llama.llama_get_memory(self._context), True)

    def feed(self, rows: list[array[int]], position: int, *, first_scored: int = 0) -> Floats:
        """Append `rows[i]` to sequence `i`, all starting at `position`.

        Returns the logits of positions from `first_scored` on: float32 [scored tokens, vocabulary], sequence by
        sequence. A view that the next call overwrites. The rows together hold at most `step_tokens` tokens.
        """
        batch = self._batch
        batch.clear()
        scored = 0
        for sequence, tokens in enumerate(rows):
            outputs = bytes(position + i >= first_scored for i in range(len(tokens)))
            batch.add(tokens, position, sequence, outputs=outputs)
            scored += sum(outputs)
        status = llama.llama_decode(self._context, batch.struct())
        if status != 0:
            raise ModelLoadError(f"{self.path.name} cannot be run: {log.reason() or f'llama.cpp says {status}'}.")
        if scored == 0:
            return np.empty((0, self.vocabulary.size), np.float32)
        pointer = llama.llama_get_logits(self._context)
        return np.ctypeslib.as_array(pointer, (scored, self.vocabulary.size))

    def close(self) -> None:
        if self._context:
            llama.llama_free(self._context)
        if self._model:
            llama.llama_model_free(self._model)
        self._context = self._model = None

    def __enter__(self) -> LogitsModel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _load_error(path: Path, otherwise: str) -> ModelLoadError:
    return ModelLoadError(f"{path.name} cannot be loaded: {log.reason() or otherwise}.")
