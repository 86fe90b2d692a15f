"""A GGUF model and a context on it: what loading would take, and loading."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.engines.llama.library import llama, log, only_errors_logged
from agent.engines.llama.vocabulary import Vocabulary
from agent.engines.process import release_free_memory, resident_bytes
from agent.errors import ModelLoadError
from agent.runtime.wire.memory import Memory
from agent.runtime.wire.options import LlamaOptions

_MIB = 1024 * 1024
_KV_SIZE = re.compile(r"llama_(?:kv_cache|memory_recurrent)\S*: size = +([\d.]+) MiB")
_COMPUTE_SIZE = re.compile(r"(\S+) compute buffer size = +([\d.]+) MiB")
_OUTPUT_SIZE = re.compile(r"output buffer size = +([\d.]+) MiB")
_WEIGHTS_SIZE = re.compile(r"load_tensors: +(\S+) model buffer size = +([\d.]+) MiB")
_FLASH = {"auto": -1, "off": 0, "on": 1}
_POOLING = {0: "none", 1: "mean", 2: "cls", 3: "last", 4: "rank"}

# ctypes structs share their callback types by identity, so a C function is passed to one by a cast to that very type.
AbortCallback = llama.ggml_abort_callback


class EmbeddingOnlyError(ModelLoadError):
    """A model made for embeddings was opened for generation."""


class AbortFlag:
    """A flag that llama.cpp polls between the nodes of a graph, without Python and its lock in between.

    The callback is libc's `strlen` and its argument a string of ours: an empty one is false, one character is true.
    A Python callback would take the interpreter lock about 800 times per token of a 24-layer model.
    """

    def __init__(self) -> None:
        self._string = ctypes.create_string_buffer(2)
        self.address = ctypes.c_void_p(ctypes.addressof(self._string))
        self.callback = ctypes.cast(ctypes.CDLL(None).strlen, AbortCallback)

    def set(self) -> None:
        self._string[0] = b"\x01"

    def clear(self) -> None:
        self._string[0] = b"\x00"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a model file says of itself. `embeds`: it is made for embeddings, by its pooling or its attention."""

    description: str
    weights_bytes: int
    parameters: int
    train_context_tokens: int
    embedding_dim: int
    layers: int
    recurrent: bool
    embeds: bool
    sliding_window_tokens: int
    metadata: dict[str, str]


class LlamaModel:
    """An open model with one context. Use `predict` first, then `open`; `close` frees both.

    Attributes: `model` and `context` (C pointers), `vocabulary`, `facts`, `pooling`.
    """

    def __init__(self, path: Path, options: LlamaOptions, *, dry: bool, abort: AbortFlag | None = None) -> None:
        self.context: Any = None
        self._adapters: list[Any] = []
        self._options = options
        log.clear()
        parameters = llama.llama_model_default_params()
        parameters.n_gpu_layers = options.gpu_layers
        parameters.no_alloc = dry
        parameters.load_mode = _load_mode(options, dry=dry)
        self.model: Any = llama.llama_model_load_from_file(str(path).encode(), parameters)
        if not self.model:
            raise _load_error(path, "it is not a GGUF file that this llama.cpp can load")
        try:
            self.vocabulary = Vocabulary(self.model)
            self.facts = _read_facts(self.model)
            if not options.embedding and self.facts.embeds:
                raise EmbeddingOnlyError(f"{path.name} is an embedding model.", hint='Set task = "embed" for it.')
            self._open_context(path, options, abort)
            if not dry:
                self._apply_lora(options)
        except BaseException:
            self.close()
            raise

    def _open_context(self, path: Path, options: LlamaOptions, abort: AbortFlag | None) -> None:
        parameters = llama.llama_context_default_params()
        trained = self.facts.train_context_tokens or options.context_tokens
        parameters.n_ctx = min(options.context_tokens, trained)
        parameters.n_batch = options.batch_tokens
        parameters.n_ubatch = min(options.micro_batch_tokens, options.batch_tokens)
        parameters.n_seq_max = options.slots
        # Logits of the last position of each sequence alone: at 152k tokens of vocabulary a whole micro-batch of
        # them would make the compute buffer 300 MB instead of 40.
        parameters.n_outputs_max = options.slots if not options.embedding else options.batch_tokens
        parameters.n_threads = options.threads
        parameters.n_threads_batch = options.threads_batch
        parameters.kv_unified = True
        parameters.flash_attn_type = _FLASH[options.flash_attention]
        parameters.type_k = parameters.type_v = getattr(llama, f"GGML_TYPE_{options.kv_type.upper()}")
        parameters.no_perf = True
        parameters.embeddings = options.embedding
        if abort is not None:
            parameters.abort_callback = abort.callback
            parameters.abort_callback_data = abort.address
        self.context = llama.llama_init_from_model(self.model, parameters)
        self.context_tokens = min(llama.llama_n_ctx_seq(self.context), trained) if self.context else 0
        if not self.context:
            raise _load_error(path, "llama.cpp could not make a context for it")
        self.pooling = _POOLING.get(llama.llama_pooling_type(self.context), "none")

    def _apply_lora(self, options: LlamaOptions) -> None:
        if not options.lora:
            return
        for lora in options.lora:
            adapter = llama.llama_adapter_lora_init(self.model, lora.path.encode())
            if not adapter:
                raise ModelLoadError(
                    f"The LoRA adapter {lora.path} cannot be applied: {log.reason() or 'llama.cpp refused it'}.",
                    hint="It must be a GGUF adapter made for this very base model.",
                )
            self._adapters.append(adapter)
        pointers = (llama.llama_adapter_lora_p_ctypes * len(self._adapters))(*self._adapters)
        scales = (ctypes.c_float * len(self._adapters))(*(lora.scale for lora in options.lora))
        if llama.llama_set_adapters_lora(self.context, pointers, len(self._adapters), scales) != 0:
            raise ModelLoadError("The LoRA adapters cannot be applied together.")

    def memory(self, *, overhead_bytes: int, prefix_cache_bytes: int, resident: int = 0) -> Memory:
        """Buffers as llama.cpp logged them while this was opened."""
        kv = sum(float(m[1]) for m in _matches(_KV_SIZE))
        compute = [(m[1], float(m[2])) for m in _matches(_COMPUTE_SIZE)]
        output = max(sum(float(m[1]) for m in _matches(_OUTPUT_SIZE)) * _MIB, self._most_output_bytes())
        on_gpu = sum(size for name, size in compute if _is_device(name))
        on_gpu += sum(float(m[2]) for m in _matches(_WEIGHTS_SIZE) if _is_device(m[1]))
        return Memory(
            weights_bytes=self.facts.weights_bytes,
            kv_bytes=int(kv * _MIB),
            compute_bytes=int(sum(size for _, size in compute) * _MIB + output),
            overhead_bytes=overhead_bytes,
            prefix_cache_bytes=prefix_cache_bytes,
            gpu_bytes=int(on_gpu * _MIB),
            resident_bytes=resident,
        )

    def _most_output_bytes(self) -> int:
        """An embedding context makes room for logits and vector of every token of a full batch, at the first one."""
        if not self._options.embedding:
            return 0
        outputs = min(self._options.batch_tokens, self._options.micro_batch_tokens)
        return outputs * (self.vocabulary.size + self.facts.embedding_dim) * 4

    def close(self) -> None:
        if self.context:
            llama.llama_free(self.context)
        if self.model:
            llama.llama_model_free(self.model)
        self.context = self.model = None


def predict(path: Path, options: LlamaOptions, *, already_bytes: int = 0) -> Memory:
    """What `path` would take with `options`, without allocating weights, KV cache or compute buffers.

    `overhead_bytes` is this process with the vocabulary in it, as measured, less `already_bytes`.
    Raises `ModelLoadError`.
    """
    with only_errors_logged():
        rehearsal = LlamaModel(path, options, dry=True)
        release_free_memory()
        overhead_bytes = resident_bytes() - already_bytes
        memory = rehearsal.memory(overhead_bytes=overhead_bytes, prefix_cache_bytes=options.prefix_cache_bytes)
        rehearsal.close()
    return memory


def _load_mode(options: LlamaOptions, *, dry: bool) -> int:
    if dry or not (options.mmap or options.mlock):
        return int(llama.LLAMA_LOAD_MODE_NONE)
    if options.mlock:
        return int(llama.LLAMA_LOAD_MODE_MMAP_MLOCK if options.mmap else llama.LLAMA_LOAD_MODE_MLOCK)
    return int(llama.LLAMA_LOAD_MODE_MMAP)


def _load_error(path: Path, otherwise: str) -> ModelLoadError:
    return ModelLoadError(
        f"{path.name} cannot be loaded: {log.reason() or otherwise}.",
        hint="Download the file again; `edge-agent models verify` checks a model of the store.",
    )


def _matches(pattern: re.Pattern[str]) -> Iterable[re.Match[str]]:
    return (m for m in map(pattern.search, log.lines) if m)


def _is_device(buffer: str) -> bool:
    return not buffer.startswith("CPU") and "Host" not in buffer


def _read_facts(model: Any) -> Facts:
    def text(read: Any, index: int) -> str:
        room = 1024
        buffer = ctypes.create_string_buffer(room)
        size = read(model, index, buffer, room)
        if size >= room:
            buffer = ctypes.create_string_buffer(size + 1)
            read(model, index, buffer, size + 1)
        return buffer.value.decode("utf-8", "replace")

    description = ctypes.create_string_buffer(256)
    llama.llama_model_desc(model, description, 256)
    metadata = {
        text(llama.llama_model_meta_key_by_index, i): text(llama.llama_model_meta_val_str_by_index, i)
        for i in range(llama.llama_model_meta_count(model))
    }
    architecture = metadata.get("general.architecture", "")
    return Facts(
        description=description.value.decode("utf-8", "replace"),
        weights_bytes=llama.llama_model_size(model),
        parameters=llama.llama_model_n_params(model),
        train_context_tokens=llama.llama_model_n_ctx_train(model),
        embedding_dim=llama.llama_model_n_embd_out(model),
        layers=llama.llama_model_n_layer(model),
        recurrent=llama.llama_model_is_recurrent(model) or llama.llama_model_is_hybrid(model),
        embeds=metadata.get(f"{architecture}.pooling_type", "0") != "0"
        or metadata.get(f"{architecture}.attention.causal") == "false",
        sliding_window_tokens=llama.llama_model_n_swa(model),
        metadata=metadata,
    )
