"""The whole encoder as one graph: token ids in, one vector for each text out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from agent.errors import ArtifactError
from convert.checkpoint import Checkpoint
from convert.config import Config
from convert.embed import bert, distilbert, mpnet
from convert.embed.encoder import Shape
from convert.embed.pooling import Head, pooled
from convert.onnx.graph import Graph
from convert.onnx.layers import Layers, Precision

INPUTS: Final = ("input_ids", "attention_mask")
OUTPUT: Final = "sentence_embedding"


@dataclass(frozen=True)
class _Architecture:
    read_shape: Callable[[Config], Shape]
    hidden_states: Callable[[Layers, Shape, str, str], str]


_BERT: Final = _Architecture(bert.read_shape, bert.hidden_states)
ARCHITECTURES: Final[Mapping[str, _Architecture]] = {
    "bert": _BERT,
    "camembert": _BERT,
    "distilbert": _Architecture(distilbert.read_shape, distilbert.hidden_states),
    "mpnet": _Architecture(mpnet.read_shape, mpnet.hidden_states),
    "roberta": _BERT,
    "xlm-roberta": _BERT,
}
"""What `model_type` in config.json may be."""


def read_shape(config: Config) -> Shape:
    """Raises `ArtifactError` for an architecture that is not built here, or a configuration without its fields."""
    architecture = config.text("model_type")
    if architecture not in ARCHITECTURES:
        raise ArtifactError(
            f"config.json: the architecture {ascii(architecture)[:60]} is not supported.",
            hint=f"Supported: {', '.join(ARCHITECTURES)}. For others take their ONNX or GGUF files.",
            param="model_type",
        )
    return ARCHITECTURES[architecture].read_shape(config)


def build_graph(
    checkpoint: Checkpoint, shape: Shape, head: Head, dense: Mapping[str, Checkpoint], precision: Precision
) -> Graph:
    """A graph from input_ids and attention_mask, int64 [B, n], to sentence_embedding, float32 [B, dimension].

    Padding is on the right. The checkpoints must stay open until the graph is saved. Raises `ArtifactError` where a
    tensor is missing or of another shape.
    """
    graph = Graph("encoder")
    ids, attention_mask = (graph.input(name, np.int64, ["batch", "tokens"]) for name in INPUTS)
    layers = Layers(graph, checkpoint, precision)
    states = ARCHITECTURES[shape.architecture].hidden_states(layers, shape, ids, attention_mask)
    vectors = pooled(layers, head, states, attention_mask, dense)
    graph.output(vectors, OUTPUT, np.float32, ["batch", head.dimension(shape.width)])
    return graph
