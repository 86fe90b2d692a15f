"""The blocks that BERT, RoBERTa, MPNet and DistilBERT share: self-attention and a feed-forward layer, each followed by
the residual and a layer norm. They differ in embeddings, in the attention's bias and in what the tensors are called.

Vaswani et al., https://arxiv.org/abs/1706.03762; Devlin et al., https://arxiv.org/abs/1810.04805.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agent.errors import ArtifactError
from convert.checkpoint import Checkpoint
from convert.onnx.layers import Layers


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What `config.json` says of an encoder. `positions` is how many tokens a text may have."""

    architecture: str
    vocabulary: int
    width: int
    layers: int
    heads: int
    feed_forward: int
    positions: int
    epsilon: float
    activation: str

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ArtifactError(
                f"config.json: a width of {self.width} does not divide into {self.heads} attention heads.",
                hint="The configuration is broken: download the checkpoint again.",
            )
        if self.positions < 1:
            raise ArtifactError(
                "config.json: max_position_embeddings leaves no position for a token.", param="max_position_embeddings"
            )


@dataclass(frozen=True, kw_only=True)
class BlockNames:
    """What the modules of a block are called; each has `.weight` and `.bias`."""

    query: str
    key: str
    value: str
    attention_output: str
    attention_norm: str
    expand: str
    contract: str
    output_norm: str

    def under(self, prefix: str) -> BlockNames:
        return BlockNames(**{field: f"{prefix}{name}" for field, name in vars(self).items()})


def prefix_of(checkpoint: Checkpoint, probe: str, prefixes: tuple[str, ...]) -> str:
    """Which of `prefixes` stands before the tensor `probe`: a model saved with a head has its name before each tensor.

    Raises `ArtifactError` where the tensor is not there under any.
    """
    for prefix in prefixes:
        if f"{prefix}{probe}" in checkpoint:
            return prefix
    tried = " nor ".join(f"{prefix}{probe}" for prefix in prefixes)
    raise ArtifactError(
        f"{checkpoint.folder.name} has no tensor {tried}.",
        hint="It is incomplete, or not the model config.json says.",
    )


def norm(layers: Layers, x: str, module: str, epsilon: float) -> str:
    """The layer norm `module`. Old checkpoints call its tensors gamma and beta."""
    old = f"{module}.weight" not in layers.checkpoint and f"{module}.gamma" in layers.checkpoint
    weight, bias = ("gamma", "beta") if old else ("weight", "bias")
    return layers.layer_norm(x, f"{module}.{weight}", f"{module}.{bias}", epsilon=epsilon, name=module)


def token_positions(layers: Layers, ids: str) -> str:
    """0, 1, ... n - 1 for ids [B, n], as int64 [1, n]."""
    graph = layers.graph
    count = graph.node("Gather", graph.node("Shape", ids), graph.constant(1, np.int64))
    zero, one = graph.constant(0, np.int64), graph.constant(1, np.int64)
    return graph.node("Unsqueeze", graph.node("Range", zero, count, one), graph.constant([0], np.int64))


def positions_after_padding(layers: Layers, ids: str, padding: int) -> str:
    """As RoBERTa counts, int64 [B, n]: other tokens from `padding` + 1 on, padding itself at `padding`."""
    graph = layers.graph
    is_padding = graph.node("Equal", ids, graph.constant(padding, np.int64))
    counted = graph.node("Cast", graph.node("Not", is_padding), to=7)
    count = graph.node("CumSum", counted, graph.constant(1, np.int64))
    return graph.node("Add", graph.node("Mul", count, counted), graph.constant(padding, np.int64))


def padding_bias(layers: Layers, attention_mask: str) -> str:
    """What is added to the attention's scores, [B, 1, 1, n]: 0 for a token, almost the least number for padding."""
    graph = layers.graph
    wide = graph.node("Unsqueeze", attention_mask, graph.constant([1, 2], np.int64))
    hidden = graph.node("Sub", graph.constant(1, np.int64), wide)
    element = 10 if np.dtype(layers.dtype) == np.float16 else 1
    # Half of the least number: with a score added it is still finite.
    least = float(np.finfo(np.dtype(layers.dtype)).min) / 2
    return graph.node("Mul", graph.node("Cast", hidden, to=element), layers.constant(least))


def blocks(layers: Layers, x: str, shape: Shape, names: list[BlockNames], bias: str) -> str:
    """x [B, n, width] through every block; `bias` [B or 1, heads or 1, n or 1, n] is added to the scores."""
    for block in names:
        attended = layers.graph.node("Add", x, _attention(layers, x, shape, block, bias))
        x = norm(layers, attended, block.attention_norm, shape.epsilon)
        fed = layers.graph.node("Add", x, _feed_forward(layers, x, shape, block))
        x = norm(layers, fed, block.output_norm, shape.epsilon)
    return x


def _attention(layers: Layers, x: str, shape: Shape, block: BlockNames, bias: str) -> str:
    graph = layers.graph
    square = (shape.width, shape.width)
    head_width = shape.width // shape.heads
    split = graph.constant([0, 0, shape.heads, head_width], np.int64)

    def projected(module: str, order: list[int], scale: float = 1.0) -> str:
        y = layers.linear(x, f"{module}.weight", f"{module}.bias", name=module, shape=square, scale=scale)
        return graph.node("Transpose", graph.node("Reshape", y, split), perm=order)

    query = projected(block.query, [0, 2, 1, 3], head_width**-0.5)
    key = projected(block.key, [0, 2, 3, 1])
    value = projected(block.value, [0, 2, 1, 3])
    scores = graph.node("Add", graph.node("MatMul", query, key), bias)
    weighted = graph.node("MatMul", graph.node("Softmax", scores, axis=-1), value)
    joined = graph.node(
        "Reshape", graph.node("Transpose", weighted, perm=[0, 2, 1, 3]), graph.constant([0, 0, shape.width], np.int64)
    )
    module = block.attention_output
    return layers.linear(joined, f"{module}.weight", f"{module}.bias", name=module, shape=square)


def _feed_forward(layers: Layers, x: str, shape: Shape, block: BlockNames) -> str:
    expand, contract = block.expand, block.contract
    wide, narrow = (shape.feed_forward, shape.width), (shape.width, shape.feed_forward)
    y = layers.linear(x, f"{expand}.weight", f"{expand}.bias", name=expand, shape=wide)
    y = layers.activation(y, shape.activation)
    return layers.linear(y, f"{contract}.weight", f"{contract}.bias", name=contract, shape=narrow)
