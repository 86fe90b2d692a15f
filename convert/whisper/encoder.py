"""The encoder's graph: log-mel in, the cross-attention keys and values of every decoder layer out.

They are made here, once for each window, because the decoder needs them at every step. Nothing in the graph fixes the
length of the window: positions are cut to it.
"""

from __future__ import annotations

import numpy as np

from convert.checkpoint import Checkpoint
from convert.onnx.graph import CONTRIB_DOMAIN, Graph
from convert.onnx.layers import Layers, Precision
from convert.whisper.shape import CONV_STRIDES, LAYER_NORM_EPSILON, WhisperShape, WhisperTensors

INPUT = "input_features"


def encoder_graph(checkpoint: Checkpoint, shape: WhisperShape, precision: Precision) -> Graph:
    """`input_features` float32 [batch, n_mels, frames] -> for each decoder layer i `cross_key_{i}` [batch, heads,
    head_dim, T] and `cross_value_{i}` [batch, heads, T, head_dim], T = frames / 2; float16 in fp16, else float32.

    `frames` is even, from 2 to 2 * max_source_positions.
    """
    return _Encoder(checkpoint, shape, precision).build()


class _Encoder:
    def __init__(self, checkpoint: Checkpoint, shape: WhisperShape, precision: Precision) -> None:
        self._shape = shape
        self._tensors = WhisperTensors(checkpoint)
        self._graph = Graph("whisper_encoder")
        self._layers = Layers(self._graph, checkpoint, precision)

    def build(self) -> Graph:
        graph, shape = self._graph, self._shape
        features = graph.input(INPUT, np.float32, ["batch", shape.n_mels, "frames"])
        x = self._stem(self._layers.from_float32(features))
        for index in range(shape.encoder_layers):
            x = self._layer(x, index)
        x = self._norm(x, self._tensors.encoder("layer_norm"))
        # [batch, T, heads, head_dim]: 0 keeps what is there
        split = graph.constant([0, 0, shape.decoder_heads, shape.decoder_head_dim], np.int64)
        for index in range(shape.decoder_layers):
            self._cross(x, index, split)
        return graph

    def _stem(self, x: str) -> str:
        """[batch, n_mels, frames] -> [batch, T, d_model], with positions."""
        graph, layers = self._graph, self._layers
        for number, stride in enumerate(CONV_STRIDES, start=1):
            name = self._tensors.encoder(f"conv{number}")
            conv = layers.conv1d(x, f"{name}.weight", f"{name}.bias", stride=stride, padding=1, name=name)
            x = layers.activation(conv, self._shape.activation)
        x = graph.node("Transpose", x, perm=[0, 2, 1])
        length = graph.node("Shape", x, start=1, end=2)
        zero = graph.constant([0], np.int64)
        table = layers.parameter(self._tensors.encoder("embed_positions.weight"))
        return graph.node("Add", x, graph.node("Slice", table, zero, length, zero))

    def _layer(self, x: str, index: int) -> str:
        graph, name = self._graph, self._tensors.encoder(f"layers.{index}")
        y = self._norm(x, f"{name}.self_attn_layer_norm")
        parts = [f"{name}.self_attn.{part}_proj" for part in "qkv"]
        joined = self._layers.linear(
            y,
            [f"{part}.weight" for part in parts],
            [f"{parts[0]}.bias", None, f"{parts[2]}.bias"],
            name=f"{name}.self_attn.qkv",
        )
        sizes = graph.constant([self._shape.d_model] * 3, np.int64)
        query, key, value = graph.nodes("Split", joined, sizes, outputs=3, axis=2)
        # Flash attention: 15% faster than plain nodes at 30 s, and no [T, T] scores, which are 180 MB in large models.
        y = graph.node(
            "MultiHeadAttention", query, key, value, domain=CONTRIB_DOMAIN, num_heads=self._shape.encoder_heads
        )
        x = graph.node("Add", x, self._linear(y, f"{name}.self_attn.out_proj"))
        y = self._linear(self._norm(x, f"{name}.final_layer_norm"), f"{name}.fc1")
        y = self._layers.activation(y, self._shape.activation)
        return graph.node("Add", x, self._linear(y, f"{name}.fc2"))

    def _cross(self, x: str, index: int, split: str) -> None:
        graph, shape = self._graph, self._shape
        name = self._tensors.decoder(f"layers.{index}.encoder_attn")
        key = self._layers.linear(x, f"{name}.k_proj.weight", name=f"{name}.k_proj")
        value = self._linear(x, f"{name}.v_proj")
        key = graph.node("Transpose", graph.node("Reshape", key, split), perm=[0, 2, 3, 1])
        value = graph.node("Transpose", graph.node("Reshape", value, split), perm=[0, 2, 1, 3])
        heads, dim, dtype = shape.decoder_heads, shape.decoder_head_dim, self._layers.dtype
        graph.output(key, f"cross_key_{index}", dtype, ["batch", heads, dim, "positions"])
        graph.output(value, f"cross_value_{index}", dtype, ["batch", heads, "positions", dim])

    def _norm(self, x: str, name: str) -> str:
        return self._layers.layer_norm(x, f"{name}.weight", f"{name}.bias", epsilon=LAYER_NORM_EPSILON, name=name)

    def _linear(self, x: str, name: str) -> str:
        return self._layers.linear(x, f"{name}.weight", f"{name}.bias", name=name)
