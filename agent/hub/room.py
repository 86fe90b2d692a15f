"""What the board has for models, and what a model needs of it, by arithmetic from names, sizes and shapes. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from agent.hardware.fit import OVERHEAD_BYTES, SHAPES, SMALLEST_CONTEXT_TOKENS, Shape, fit
from agent.hardware.sections import Llama
from agent.store.manifest import MemoryNeed

MIB: Final = 1024 * 1024
FLOAT_BYTES: Final = 4

# As the ONNX engine predicts before it loads (agent/engines/onnx); a test compares the two.
ONNX_OVERHEAD_BYTES: Final = 76 * MIB
VOCABULARY_BYTES: Final = 360
FEATURES_BYTES: Final = 8 * MIB
LAYER_COPIES: Final = 20
MOST_SEQUENCES: Final = 5
EMBED_BATCH_TOKENS: Final = 1024


@dataclass(frozen=True, kw_only=True)
class Room:
    """`memory_bytes` is what all models together may take, `disk_bytes` what is free where they are stored less what
    stays free; `llama` and `decode_gb_per_s` (0: not known) are the profile's."""

    memory_bytes: int
    disk_bytes: int
    llama: Llama
    decode_gb_per_s: float


@dataclass(frozen=True, kw_only=True)
class Need:
    """`least_bytes` of memory are needed to load it at all, `bytes` as it would be loaded here, with
    `context_tokens` (0 where there is no such choice). `exact` is False where the shape is not known: then it is what
    the weights and a worker take, and the rest comes on top. `tokens_per_s` is None where it is not known.
    """

    least_bytes: int
    bytes: int
    fits: bool
    exact: bool
    context_tokens: int = 0
    tokens_per_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class _Published(Shape):
    """A shape whose weights are as large as a file."""

    file_bytes: int

    def weights_bytes(self) -> int:
        return self.file_bytes


def known_shape(name: str) -> Shape | None:
    """The shape of the model that a repository's or a model's `name` begins with."""
    for shape in SHAPES:
        if re.match(rf"{re.escape(shape.name)}(?![A-Za-z0-9.])", name, re.IGNORECASE):
            return shape
    return None


def gguf_need(shape: Shape | None, file_bytes: int, room: Room) -> Need:
    """Of a GGUF model. Without a `shape` the KV cache and the buffers are not known."""
    speed = room.decode_gb_per_s * 1e9 / file_bytes if room.decode_gb_per_s and file_bytes > 0 else None
    if shape is None:
        least = file_bytes + OVERHEAD_BYTES
        fits = least <= room.memory_bytes
        return Need(least_bytes=least, bytes=least, fits=fits, exact=False, tokens_per_s=speed if fits else None)
    known = {field.name: getattr(shape, field.name) for field in fields(Shape)}
    published = _Published(**known, file_bytes=file_bytes)
    found = fit(published, room.llama, room.memory_bytes, room.decode_gb_per_s)
    context = SMALLEST_CONTEXT_TOKENS
    least = file_bytes + OVERHEAD_BYTES + published.kv_bytes(context, room.llama.kv_type)
    least += published.compute_bytes(room.llama.micro_batch_tokens, context_tokens=context, slots=room.llama.slots)
    return Need(
        least_bytes=least,
        bytes=found.total_bytes if found.fits else least,
        fits=found.fits,
        exact=True,
        context_tokens=found.context_tokens,
        tokens_per_s=found.tokens_per_s,
    )


def whisper_need(config: Mapping[str, Any], weights_bytes: int, room: Room) -> Need:
    """Of a Whisper in onnx-community's layout. `config` is its config.json, which the store has checked."""
    width, layers = config["d_model"], config["decoder_layers"]
    positions, context = config["max_source_positions"], config["max_target_positions"]

    def kv(count: int) -> int:
        return int(2 * layers * width * count * FLOAT_BYTES)

    texts = kv(MOST_SEQUENCES * context // 2)
    encoder = FEATURES_BYTES + LAYER_COPIES * positions * width * FLOAT_BYTES
    total = weights_bytes + texts + kv(MOST_SEQUENCES * positions) + max(encoder, texts) - texts
    total += ONNX_OVERHEAD_BYTES + config["vocab_size"] * VOCABULARY_BYTES
    return Need(least_bytes=total, bytes=total, fits=total <= room.memory_bytes, exact=True)


def embedding_need(memory: MemoryNeed, longest_tokens: int, room: Room) -> Need:
    """Of an ONNX text encoder, from the store's estimate: `memory.compute` is one text of `longest_tokens`."""
    tokens = max(EMBED_BATCH_TOKENS, longest_tokens)
    total = memory.weights + int(tokens * (memory.compute / longest_tokens)) + ONNX_OVERHEAD_BYTES
    return Need(least_bytes=total, bytes=total, fits=total <= room.memory_bytes, exact=True)
