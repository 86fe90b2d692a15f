"""MPNet: positions counted as RoBERTa does, and a bias on the attention's scores by how far apart two tokens are.

Song et al., https://arxiv.org/abs/2004.09297. The buckets of distances are T5's: Raffel et al.,
https://arxiv.org/abs/1910.10683.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from convert.config import Config
from convert.embed.encoder import (
    BlockNames,
    Shape,
    blocks,
    norm,
    padding_bias,
    positions_after_padding,
    prefix_of,
    token_positions,
)
from convert.onnx.layers import FloatArray, Layers

PREFIXES: Final = ("", "mpnet.")
PADDING: Final = 1
"""Fixed in transformers' modeling_mpnet.py, whatever pad_token_id says."""
FARTHEST: Final = 128
"""From this distance on, all are in one bucket; fixed likewise."""
NAMES: Final = BlockNames(
    query="attention.attn.q",
    key="attention.attn.k",
    value="attention.attn.v",
    attention_output="attention.attn.o",
    attention_norm="attention.LayerNorm",
    expand="intermediate.dense",
    contract="output.dense",
    output_norm="output.LayerNorm",
)


def read_shape(config: Config) -> Shape:
    """Raises `ArtifactError` where a field is missing."""
    return Shape(
        architecture="mpnet",
        vocabulary=config.integer("vocab_size"),
        width=config.integer("hidden_size"),
        layers=config.integer("num_hidden_layers"),
        heads=config.integer("num_attention_heads"),
        feed_forward=config.integer("intermediate_size"),
        positions=config.integer("max_position_embeddings") - PADDING - 1,
        epsilon=config.number("layer_norm_eps", 1e-12),
        activation=config.text("hidden_act", "gelu"),
    )


def hidden_states(layers: Layers, shape: Shape, ids: str, attention_mask: str) -> str:
    """ids and attention_mask int64 [B, n] -> [B, n, width]."""
    graph, config = layers.graph, layers.checkpoint.config
    prefix = prefix_of(layers.checkpoint, "embeddings.word_embeddings.weight", PREFIXES)
    table = f"{prefix}embeddings."
    words = layers.embedding(ids, f"{table}word_embeddings.weight", shape=(shape.vocabulary, shape.width))
    places = layers.parameter(f"{table}position_embeddings.weight", shape=(shape.positions + PADDING + 1, shape.width))
    at = graph.node("Gather", places, positions_after_padding(layers, ids, PADDING), axis=0)
    x = norm(layers, graph.node("Add", words, at), f"{table}LayerNorm", shape.epsilon)
    buckets = config.integer("relative_attention_num_buckets", 32)
    distance = _distance_bias(layers, shape, ids, f"{prefix}encoder.relative_attention_bias.weight", buckets)
    bias = graph.node("Add", padding_bias(layers, attention_mask), distance)
    names = [NAMES.under(f"{prefix}encoder.layer.{index}.") for index in range(shape.layers)]
    return blocks(layers, x, shape, names, bias)


def bucket_of(offsets: npt.NDArray[np.int64], buckets: int) -> npt.NDArray[np.int64]:
    """The bucket of each offset (key's position - query's): one per offset when near, logarithmic up to `FARTHEST`."""
    half = buckets // 2
    near = half // 2
    away = np.abs(offsets)
    ratio = np.maximum(away, 1).astype(np.float32) / np.float32(near)
    steps = np.log(ratio) / np.float32(np.log(FARTHEST / near)) * np.float32(half - near)
    far = np.minimum(near + steps.astype(np.int64), half - 1)
    return np.where(offsets > 0, half, 0) + np.where(away < near, away, far)


def _distance_bias(layers: Layers, shape: Shape, ids: str, tensor: str, buckets: int) -> str:
    """[1, heads, n, n], from a table [heads, 2 * positions - 1] that has one column for each offset."""
    graph = layers.graph
    last = shape.positions - 1
    offsets = np.arange(-last, last + 1, dtype=np.int64)

    def by_offset(array: FloatArray) -> FloatArray:
        return np.ascontiguousarray(array[bucket_of(offsets, buckets)].T)

    table = layers.parameter(
        tensor, shape=(buckets, shape.heads), change=by_offset, changed_shape=(shape.heads, len(offsets))
    )
    key = token_positions(layers, ids)  # [1, n]
    query = graph.node("Transpose", key, perm=[1, 0])
    offset = graph.node("Add", graph.node("Sub", key, query), graph.constant(last, np.int64))
    return graph.node("Unsqueeze", graph.node("Gather", table, offset, axis=1), graph.constant([0], np.int64))
