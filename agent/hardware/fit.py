"""Which well-known models fit: weights, KV cache and compute buffers by arithmetic from published shapes.

Shapes are those of each model's `config.json` on Hugging Face. A file's real needs are read from the file itself when
it is imported; this table is for choosing what to download.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.hardware.sections import Llama

OVERHEAD_BYTES = 60 * 1024 * 1024
"""A worker process beyond weights, KV cache and compute buffers, at most (docs/performance.md)."""

BYTES_PER_VALUE = {
    "f16": 2.0,
    "q8_0": 34 / 32,
    "q6_k": 210 / 256,
    "q5_1": 24 / 32,
    "q5_0": 22 / 32,
    "q4_1": 20 / 32,
    "q4_0": 18 / 32,
    "q4_k": 144 / 256,
}
"""Block bytes over block values: ggml, `ggml-common.h`."""

SMALLEST_CONTEXT_TOKENS = 512
"""Below this a chat has no room for its own system prompt."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A transformer with grouped-query attention and a gated feed-forward layer. Sizes are in values, not bytes."""

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    feed_forward: int
    vocabulary: int
    tied_embeddings: bool
    context_tokens: int

    def weights_bytes(self) -> int:
        """The size as Q4_K_M, by llama.cpp's rules (`llama-quant.cpp`).

        Matrices are Q4_K; the value and down projections of about half the layers and the output matrix are Q6_K. A row
        that is no multiple of 256 values falls back to Q5_0 and Q8_0. Norms and biases are left out (less than 0.1%).
        """
        query, key_value = self.heads * self.head_dim, self.kv_heads * self.head_dim
        q4_layer = _matrix(self.hidden, query, "q4_k") + _matrix(query, self.hidden, "q4_k")
        q4_layer += _matrix(self.hidden, key_value, "q4_k") + 2 * _matrix(self.hidden, self.feed_forward, "q4_k")
        total = self.layers * q4_layer
        for layer in range(self.layers):
            better = _use_more_bits(layer, self.layers)
            total += _matrix(self.hidden, key_value, "q6_k" if better else "q4_k")
            total += _matrix(self.feed_forward, self.hidden, "q6_k" if better else "q4_k")
        total += _matrix(self.hidden, self.vocabulary, "q6_k")
        if not self.tied_embeddings:
            total += _matrix(self.hidden, self.vocabulary, "q4_k")
        return int(total)

    def kv_bytes(self, tokens: int, kv_type: str) -> int:
        """Keys and values of `tokens` positions in all layers."""
        return int(2 * self.layers * self.kv_heads * self.head_dim * tokens * BYTES_PER_VALUE[kv_type])

    def compute_bytes(self, micro_batch_tokens: int, *, context_tokens: int, slots: int) -> int:
        """Activations of one micro-batch, its attention mask, and logits of one position per slot.

        Fitted to what llama.cpp logs for Qwen2.5-0.5B with flash attention: within 0.1% for micro-batches of 128 to 512
        tokens and contexts of 2,048 to 32,768.
        """
        activations = micro_batch_tokens * (3 * self.feed_forward + 4 * self.hidden) * 4
        return activations + 2 * micro_batch_tokens * context_tokens + slots * self.vocabulary * 4


@dataclass(frozen=True, kw_only=True)
class Fit:
    """One model on this board. `context_tokens` is the largest that fits up to the profile's; 0: does not fit."""

    model: str
    weights_bytes: int
    kv_bytes: int
    compute_bytes: int
    total_bytes: int
    context_tokens: int
    tokens_per_s: float | None

    @property
    def fits(self) -> bool:
        return self.context_tokens > 0


def fit(shape: Shape, llama: Llama, budget_bytes: int, decode_gb_per_s: float) -> Fit:
    """Whether `shape` at Q4_K_M fits `budget_bytes`, with the profile's context or else the largest power of two below.

    The sizes reported are those at the context that fits, or at the profile's where none does.
    """
    weights = shape.weights_bytes()
    wanted = min(llama.context_tokens, shape.context_tokens)

    def growing(tokens: int) -> tuple[int, int]:
        compute = shape.compute_bytes(llama.micro_batch_tokens, context_tokens=tokens, slots=llama.slots)
        return shape.kv_bytes(tokens, llama.kv_type), compute

    context = wanted
    fixed = weights + OVERHEAD_BYTES
    while context >= SMALLEST_CONTEXT_TOKENS and fixed + sum(growing(context)) > budget_bytes:
        context = 1 << ((context - 1).bit_length() - 1)
    fits = context >= SMALLEST_CONTEXT_TOKENS
    kv, compute = growing(context if fits else wanted)
    return Fit(
        model=shape.name,
        weights_bytes=weights,
        kv_bytes=kv,
        compute_bytes=compute,
        total_bytes=fixed + kv + compute,
        context_tokens=context if fits else 0,
        tokens_per_s=decode_gb_per_s * 1e9 / weights if decode_gb_per_s and fits else None,
    )


def _matrix(columns: int, rows: int, kind: str) -> float:
    """Bytes of a matrix whose rows hold `columns` values."""
    if columns % 256:
        kind = {"q4_k": "q5_0", "q6_k": "q8_0"}[kind]
    return columns * rows * BYTES_PER_VALUE[kind]


def _use_more_bits(layer: int, layers: int) -> bool:
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def _qwen(size: str, layers: int, hidden: int, heads: int, kv_heads: int, feed_forward: int, vocabulary: int) -> Shape:
    return Shape(
        name=f"Qwen2.5-{size}",
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=hidden // heads,
        feed_forward=feed_forward,
        vocabulary=vocabulary,
        tied_embeddings=size in ("0.5B", "1.5B", "3B"),
        context_tokens=32768,
    )


def _smollm(size: str, layers: int, hidden: int, heads: int, kv_heads: int, feed_forward: int) -> Shape:
    return Shape(
        name=f"SmolLM2-{size}",
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=64,
        feed_forward=feed_forward,
        vocabulary=49152,
        tied_embeddings=True,
        context_tokens=8192,
    )


SHAPES = (
    _smollm("135M", 30, 576, 9, 3, 1536),
    _smollm("360M", 32, 960, 15, 5, 2560),
    _qwen("0.5B", 24, 896, 14, 2, 4864, 151936),
    _qwen("1.5B", 28, 1536, 12, 2, 8960, 151936),
    _qwen("3B", 36, 2048, 16, 2, 11008, 151936),
    _qwen("7B", 28, 3584, 28, 4, 18944, 152064),
    _qwen("14B", 48, 5120, 40, 8, 13824, 152064),
)
