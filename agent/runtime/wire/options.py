"""How a model is run, by engine."""

from __future__ import annotations

from typing import Literal

import msgspec

PoolingName = Literal["none", "mean", "cls", "last", "rank"]


class Lora(msgspec.Struct, frozen=True):
    """A LoRA adapter in GGUF format, applied to every request of the model."""

    path: str
    scale: float = 1.0


class LlamaOptions(msgspec.Struct, frozen=True, kw_only=True, tag="llama"):
    """How a GGUF model is run. Counts are in tokens."""

    context_tokens: int = 4096
    slots: int = 4
    batch_tokens: int = 512
    micro_batch_tokens: int = 512
    threads: int = 1
    threads_batch: int = 1
    gpu_layers: int = 0
    kv_type: Literal["f32", "f16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"] = "f16"
    flash_attention: Literal["auto", "on", "off"] = "auto"
    mmap: bool = False
    mlock: bool = False
    prefix_cache_bytes: int = 0
    lora: tuple[Lora, ...] = ()
    embedding: bool = False
    chat_template: str | None = None


class OnnxOptions(msgspec.Struct, frozen=True, kw_only=True, tag="onnx"):
    """How an ONNX model is run. `slots` is how many requests the worker holds at once, to batch them together.

    To embed: `max_tokens` is the longest input, where it shall be shorter than the model's own; `batch_tokens` what one
    run computes at most, padding included. To transcribe: the encoder sees the audio and `window_margin_s` more, at
    least `window_floor_s`.
    """

    transcribe: bool = False
    slots: int = 64
    threads: int = 1
    spinning: bool = False
    arena: bool = False
    providers: tuple[str, ...] = ("CPUExecutionProvider",)
    max_tokens: int | None = None
    batch_tokens: int = 1024
    window_floor_s: float = 10.0
    window_margin_s: float = 2.0

    @property
    def mmap(self) -> bool:
        """Whether weights may be shared with the page cache: ONNX Runtime copies what it packs for its kernels."""
        return False


Options = LlamaOptions | OnnxOptions
