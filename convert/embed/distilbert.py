"""DistilBERT: BERT without token types, with other names. Sanh et al., https://arxiv.org/abs/1910.01108."""

from __future__ import annotations

from typing import Final

from convert.config import Config
from convert.embed.encoder import BlockNames, Shape, blocks, norm, padding_bias, prefix_of, token_positions
from convert.onnx.layers import Layers

PREFIXES: Final = ("", "distilbert.")
EPSILON: Final = 1e-12
"""Fixed in transformers' modeling_distilbert.py."""
NAMES: Final = BlockNames(
    query="attention.q_lin",
    key="attention.k_lin",
    value="attention.v_lin",
    attention_output="attention.out_lin",
    attention_norm="sa_layer_norm",
    expand="ffn.lin1",
    contract="ffn.lin2",
    output_norm="output_layer_norm",
)


def read_shape(config: Config) -> Shape:
    """Raises `ArtifactError` where a field is missing."""
    return Shape(
        architecture="distilbert",
        vocabulary=config.integer("vocab_size"),
        width=config.integer("dim"),
        layers=config.integer("n_layers"),
        heads=config.integer("n_heads"),
        feed_forward=config.integer("hidden_dim"),
        positions=config.integer("max_position_embeddings"),
        epsilon=EPSILON,
        activation=config.text("activation", "gelu"),
    )


def hidden_states(layers: Layers, shape: Shape, ids: str, attention_mask: str) -> str:
    """ids and attention_mask int64 [B, n] -> [B, n, width]."""
    graph = layers.graph
    prefix = prefix_of(layers.checkpoint, "embeddings.word_embeddings.weight", PREFIXES)
    table = f"{prefix}embeddings."
    words = layers.embedding(ids, f"{table}word_embeddings.weight", shape=(shape.vocabulary, shape.width))
    places = layers.parameter(f"{table}position_embeddings.weight", shape=(shape.positions, shape.width))
    x = graph.node("Add", words, graph.node("Gather", places, token_positions(layers, ids), axis=0))
    x = norm(layers, x, f"{table}LayerNorm", shape.epsilon)
    names = [NAMES.under(f"{prefix}transformer.layer.{index}.") for index in range(shape.layers)]
    return blocks(layers, x, shape, names, padding_bias(layers, attention_mask))
