"""Random weights for a model's shape: which tensors it has, and values that keep its activations sane."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

_CHUNK_VALUES = 4 * 1024 * 1024
_EMBEDDING_STD = 0.02
# Standard deviation of the logits: wide enough that the best token is rarely a near tie.
_LOGIT_STD = 3.0


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Hyperparameters as in the model's published config.json. `tied` shares the embedding with the output."""

    architecture: Literal["qwen2", "llama", "bert"]
    layers: int
    hidden: int
    ffn: int
    heads: int
    kv_heads: int
    vocabulary: int
    context_tokens: int
    vocabulary_padding: int = 0
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-6
    tied: bool = False

    @property
    def kv_width(self) -> int:
        return self.hidden // self.heads * self.kv_heads


@dataclass(frozen=True)
class Tensor:
    """One tensor to draw: normal around `mean`. `dims` is (rows, columns) or (columns,), as numpy counts."""

    name: str
    dims: tuple[int, ...]
    std: float
    mean: float = 0.0


def tensors(shape: Shape) -> Iterator[Tensor]:
    """The tensors of a model, in file order, scaled so that activations keep unit variance from layer to layer."""
    yield from _bert_tensors(shape) if shape.architecture == "bert" else _decoder_tensors(shape)


def _decoder_tensors(shape: Shape) -> Iterator[Tensor]:
    hidden, unit = shape.hidden, shape.hidden**-0.5
    yield Tensor("token_embd.weight", (shape.vocabulary, hidden), _EMBEDDING_STD)
    gain = _LOGIT_STD / (_EMBEDDING_STD * hidden**0.5)
    yield Tensor("output_norm.weight", (hidden,), gain / 20, gain)
    if not shape.tied:
        yield Tensor("output.weight", (shape.vocabulary, hidden), _EMBEDDING_STD)
    widths = {"q": hidden, "k": shape.kv_width, "v": shape.kv_width}
    for layer in range(shape.layers):
        block = f"blk.{layer}"
        yield Tensor(f"{block}.attn_norm.weight", (hidden,), 0.05, 1.0)
        for part, width in widths.items():
            yield Tensor(f"{block}.attn_{part}.weight", (width, hidden), unit if part == "v" else 1.5 * unit)
            if shape.architecture == "qwen2":
                yield Tensor(f"{block}.attn_{part}.bias", (width,), 0.02)
        yield Tensor(f"{block}.attn_output.weight", (hidden, hidden), unit)
        yield Tensor(f"{block}.ffn_norm.weight", (hidden,), 0.05, 1.0)
        yield Tensor(f"{block}.ffn_gate.weight", (shape.ffn, hidden), unit)
        yield Tensor(f"{block}.ffn_up.weight", (shape.ffn, hidden), unit)
        # silu(gate) * up of unit normals has a standard deviation of about 0.6.
        yield Tensor(f"{block}.ffn_down.weight", (hidden, shape.ffn), shape.ffn**-0.5 / 0.6)


def _bert_tensors(shape: Shape) -> Iterator[Tensor]:
    hidden, unit = shape.hidden, shape.hidden**-0.5
    yield Tensor("token_embd.weight", (shape.vocabulary, hidden), 1.0)
    yield Tensor("token_types.weight", (2, hidden), 0.02)
    yield Tensor("position_embd.weight", (shape.context_tokens, hidden), 0.1)
    yield from _layer_norm("token_embd_norm", hidden)
    for layer in range(shape.layers):
        block = f"blk.{layer}"
        for part, rows, columns in (
            ("attn_q", hidden, hidden), ("attn_k", hidden, hidden), ("attn_v", hidden, hidden),
            ("attn_output", hidden, hidden), ("ffn_up", shape.ffn, hidden), ("ffn_down", hidden, shape.ffn),
        ):  # fmt: skip
            yield Tensor(f"{block}.{part}.weight", (rows, columns), unit if columns == hidden else columns**-0.5)
            yield Tensor(f"{block}.{part}.bias", (rows,), 0.02)
        yield from _layer_norm(f"{block}.attn_output_norm", hidden)
        yield from _layer_norm(f"{block}.layer_output_norm", hidden)


def _layer_norm(name: str, width: int) -> Iterator[Tensor]:
    yield Tensor(f"{name}.weight", (width,), 0.05, 1.0)
    yield Tensor(f"{name}.bias", (width,), 0.02)


def draw(tensor: Tensor, seed: int) -> Iterator[np.ndarray[Any, np.dtype[np.float32]]]:
    """The values of a tensor, as float32 arrays of shape (some rows, columns)."""
    rng = np.random.default_rng([seed, zlib.crc32(tensor.name.encode())])
    rows, columns = tensor.dims if len(tensor.dims) == 2 else (1, tensor.dims[0])
    step = max(1, _CHUNK_VALUES // columns)
    for start in range(0, rows, step):
        values = rng.standard_normal((min(step, rows - start), columns), dtype=np.float32)
        values *= tensor.std
        values += tensor.mean
        yield values
