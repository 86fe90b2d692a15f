"""BERT (MiniLM, BGE, E5 and GTE are of its shape), and RoBERTa with XLM-R and CamemBERT, which count positions after
the padding token.

Devlin et al., https://arxiv.org/abs/1810.04805; Liu et al., https://arxiv.org/abs/1907.11692.
"""

from __future__ import annotations

from typing import Final

from agent.errors import ArtifactError
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
from convert.onnx.layers import Layers

AFTER_PADDING: Final = ("roberta", "xlm-roberta", "camembert")
PREFIXES: Final = ("", "bert.", "roberta.")
NAMES: Final = BlockNames(
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    attention_output="attention.output.dense",
    attention_norm="attention.output.LayerNorm",
    expand="intermediate.dense",
    contract="output.dense",
    output_norm="output.LayerNorm",
)


def read_shape(config: Config) -> Shape:
    """Raises `ArtifactError` where a field is missing or says what is not built here."""
    architecture = config.text("model_type")
    kind = config.text("position_embedding_type", "absolute")
    if kind != "absolute":
        raise ArtifactError(
            f"config.json: position_embedding_type {ascii(kind)[:40]} is not supported, only absolute.",
            param="position_embedding_type",
        )
    positions = config.integer("max_position_embeddings")
    if architecture in AFTER_PADDING:
        positions -= padding_token(config) + 1
    return Shape(
        architecture=architecture,
        vocabulary=config.integer("vocab_size"),
        width=config.integer("hidden_size"),
        layers=config.integer("num_hidden_layers"),
        heads=config.integer("num_attention_heads"),
        feed_forward=config.integer("intermediate_size"),
        positions=positions,
        epsilon=config.number("layer_norm_eps", 1e-12),
        activation=config.text("hidden_act", "gelu"),
    )


def padding_token(config: Config) -> int:
    """Of RoBERTa and its kin."""
    return config.integer("pad_token_id", 1, least=0)


def hidden_states(layers: Layers, shape: Shape, ids: str, attention_mask: str) -> str:
    """ids and attention_mask int64 [B, n] -> [B, n, width]. Token type ids are 0."""
    graph, config = layers.graph, layers.checkpoint.config
    prefix = prefix_of(layers.checkpoint, "embeddings.word_embeddings.weight", PREFIXES)
    table = f"{prefix}embeddings."
    words = layers.embedding(ids, f"{table}word_embeddings.weight", shape=(shape.vocabulary, shape.width))
    if shape.architecture in AFTER_PADDING:
        places = positions_after_padding(layers, ids, padding_token(config))
    else:
        places = token_positions(layers, ids)
    rows = (config.integer("max_position_embeddings"), shape.width)
    at = graph.node("Gather", layers.parameter(f"{table}position_embeddings.weight", shape=rows), places, axis=0)
    x = graph.node("Add", words, at)
    types = f"{table}token_type_embeddings.weight"
    if types in layers.checkpoint:
        first = layers.parameter(types, change=lambda array: array[0], changed_shape=(shape.width,))
        x = graph.node("Add", x, first)
    x = norm(layers, x, f"{table}LayerNorm", shape.epsilon)
    names = [NAMES.under(f"{prefix}encoder.layer.{index}.") for index in range(shape.layers)]
    return blocks(layers, x, shape, names, padding_bias(layers, attention_mask))
