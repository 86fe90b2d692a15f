"""The decoder's graph: some tokens in, the logits of the last of them out.

Everything inside is time-first, [n * batch, d_model]: so the new keys and values are what the linear layers make,
without a transpose, and can be written straight into the next rows of a caller's buffer. Scores read that layout in
place too (`FusedMatMul` with `transBatch`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from convert.checkpoint import Checkpoint
from convert.onnx.graph import CONTRIB_DOMAIN, Graph
from convert.onnx.layers import Layers, Precision
from convert.whisper.shape import LAYER_NORM_EPSILON, WhisperShape, WhisperTensors

MASKED = -6e4
"""Added to the score of a token in the future: nothing is left of it after exp, and float16 can hold it."""


def decoder_graph(
    checkpoint: Checkpoint, shape: WhisperShape, precision: Precision, alignment_heads: Sequence[tuple[int, int]]
) -> Graph:
    """Inputs: `input_ids` int64 [batch, n]; `past_key_{i}`, `past_value_{i}` [t, batch, d_model], t may be 0;
    `cross_key_{i}` [batch, heads, head_dim, T], `cross_value_{i}` [batch, heads, T, head_dim].

    Outputs: `logits` float32 [batch, vocab_size] of the last position; `new_key_{i}`, `new_value_{i}` [n, batch,
    d_model]; `cross_attention` float32 [batch, alignment_heads, n, T], the weights of those (layer, head), if any.
    Keys and values are float16 in fp16, else float32. The n tokens are at the positions t to t + n - 1, and see those
    before them.
    """
    return _Decoder(checkpoint, shape, precision, alignment_heads).build()


class _Decoder:
    def __init__(
        self,
        checkpoint: Checkpoint,
        shape: WhisperShape,
        precision: Precision,
        alignment_heads: Sequence[tuple[int, int]],
    ) -> None:
        self._shape = shape
        self._tensors = WhisperTensors(checkpoint)
        self._graph = Graph("whisper_decoder")
        self._layers = Layers(self._graph, checkpoint, precision)
        self._heads = alignment_heads
        self._aligned: list[str] = []
        self._scale = float(shape.decoder_head_dim**-0.5)

    def build(self) -> Graph:
        self._inputs()
        x = self._embedded()
        for index in range(self._shape.decoder_layers):
            x = self._layer(x, index)
        self._logits(x)
        if self._aligned:
            joined = self._graph.node("Concat", *self._aligned, axis=1) if len(self._aligned) > 1 else self._aligned[0]
            sizes: list[int | str] = ["batch", len(self._heads), "n", "positions"]
            self._graph.output(self._layers.to_float32(joined), "cross_attention", np.float32, sizes)
        return self._graph

    def _inputs(self) -> None:
        """Declare them, and the shapes that depend on them."""
        graph, shape = self._graph, self._shape
        heads, dim, dtype = shape.decoder_heads, shape.decoder_head_dim, self._layers.dtype
        self._ids = graph.input("input_ids", np.int64, ["batch", "n"])
        layers = range(shape.decoder_layers)
        self._past = [
            [graph.input(f"past_{kind}_{i}", dtype, ["t", "batch", shape.d_model]) for kind in ("key", "value")]
            for i in layers
        ]
        self._cross = [
            (
                graph.input(f"cross_key_{i}", dtype, ["windows", heads, dim, "positions"]),
                graph.input(f"cross_value_{i}", dtype, ["windows", heads, "positions", dim]),
            )
            for i in layers
        ]
        new = graph.node("Shape", self._ids, start=1, end=2)
        past = graph.node("Shape", self._past[0][0], start=0, end=1)
        total = graph.node("Add", past, new)
        positions = graph.node("Shape", self._cross[0][0], start=3, end=4)
        self._flat = graph.constant([-1, shape.d_model], np.int64)
        each = graph.constant([-1, dim], np.int64)
        # A head of a sequence is a batch of its own in the products below: [.., batch * heads, ..].
        self._by_new = graph.node("Concat", new, self._flat, axis=0)  # [n, batch, d_model]
        self._heads_by_new = graph.node("Concat", new, each, axis=0)
        self._heads_by_total = graph.node("Concat", total, each, axis=0)
        # Sequence b hears window b % windows: those of one window (beams) are more rows of its products.
        windows = graph.node("Shape", self._cross[0][0], start=0, end=1)
        of_windows = graph.node("Mul", windows, graph.constant([heads], np.int64))
        self._heads_by_window = graph.node(
            "Concat", graph.constant([-1], np.int64), of_windows, graph.constant([dim], np.int64), axis=0
        )
        self._cross_key_shape = graph.node("Concat", each, positions, axis=0)
        self._cross_value_shape = graph.node(
            "Concat", graph.constant([-1], np.int64), positions, graph.constant([dim], np.int64), axis=0
        )
        self._aligned_shape = graph.node(
            "Concat", graph.constant([-1, heads], np.int64), new, positions, axis=0
        )  # [batch, heads, n, T]
        self._positions = self._range(past, total)
        self._mask = self._causal(total)

    def _range(self, start: str, stop: str) -> str:
        graph = self._graph
        first = graph.constant([0], np.int64)
        ends = [graph.node("Squeeze", end, first) for end in (start, stop)]
        return graph.node("Range", *ends, graph.constant(1, np.int64))

    def _causal(self, total: str) -> str:
        """[n, t + n]: 0 where a token may look, `MASKED` where it may not."""
        graph = self._graph
        columns = self._range(graph.constant([0], np.int64), total)
        rows = graph.node("Unsqueeze", self._positions, graph.constant([1], np.int64))
        seen = graph.node("LessOrEqual", columns, rows)
        return graph.node("Where", seen, self._layers.constant(0.0), self._layers.constant(MASKED))

    def _embedded(self) -> str:
        """[n * batch, d_model]: of the tokens and of their positions."""
        graph, tensors = self._graph, self._tensors
        tokens = self._tokens(graph.node("Transpose", self._ids, perm=[1, 0]))
        table = self._layers.parameter(tensors.decoder("embed_positions.weight"))
        places = graph.node("Unsqueeze", graph.node("Gather", table, self._positions), graph.constant([1], np.int64))
        return graph.node("Reshape", graph.node("Add", tokens, places), self._flat)

    def _tokens(self, ids: str) -> str:
        """ids [n, batch] -> [n, batch, d_model]."""
        if self._layers.precision == "int8" or not self._shape.tied:
            return self._layers.embedding(ids, self._tensors.table)
        columns = self._graph.node("Gather", self._columns(self._tensors.table), ids, axis=1)  # [d_model, n, batch]
        return self._graph.node("Transpose", columns, perm=[1, 2, 0])

    def _columns(self, table: str) -> str:
        """A table [vocab_size, d_model], stored once as [d_model, vocab_size].

        It is half of a small model. The product of one row with it is its largest step, and reads it as it lies in the
        file: the other way round ONNX Runtime would keep a transposed copy, or be a third slower.
        """
        shape = (self._shape.d_model, self._shape.vocab_size)
        return self._layers.parameter(
            table, change=lambda rows: np.ascontiguousarray(rows.T), changed_shape=shape, name=f"{table}.columns"
        )

    def _layer(self, x: str, index: int) -> str:
        graph, name = self._graph, self._tensors.decoder(f"layers.{index}")
        y = self._norm(x, f"{name}.self_attn_layer_norm")
        x = graph.node("Add", x, self._self_attention(y, f"{name}.self_attn", index))
        y = self._norm(x, f"{name}.encoder_attn_layer_norm")
        x = graph.node("Add", x, self._cross_attention(y, f"{name}.encoder_attn", index))
        y = self._linear(self._norm(x, f"{name}.final_layer_norm"), f"{name}.fc1")
        y = self._layers.activation(y, self._shape.activation)
        return graph.node("Add", x, self._linear(y, f"{name}.fc2"))

    def _self_attention(self, x: str, name: str, index: int) -> str:
        graph = self._graph
        query = self._query(x, name, self._heads_by_new)
        key = self._layers.linear(x, f"{name}.k_proj.weight", name=f"{name}.k_proj")
        value = self._linear(x, f"{name}.v_proj")
        seen = []
        for kind, made, past in zip(("key", "value"), (key, value), self._past[index], strict=True):
            new = graph.node("Reshape", made, self._by_new)
            graph.output(new, f"new_{kind}_{index}", self._layers.dtype, ["n", "batch", self._shape.d_model])
            seen.append(graph.node("Reshape", graph.node("Concat", past, new, axis=0), self._heads_by_total))
        # [n, batch * heads, dim] and [t + n, batch * heads, dim] -> [batch * heads, n, t + n]
        scores = self._product(query, seen[0], transBatchA=1, transBatchB=1, transB=1)
        weights = graph.node("Softmax", graph.node("Add", scores, self._mask), axis=-1)
        return self._output(self._product(weights, seen[1], transBatchB=1), name)

    def _cross_attention(self, x: str, name: str, index: int) -> str:
        graph = self._graph
        key, value = self._cross[index]
        query = self._query(x, name, self._heads_by_window)
        key = graph.node("Reshape", key, self._cross_key_shape)
        scores = self._product(query, key, transBatchA=1)
        weights = graph.node("Softmax", scores, axis=-1)
        if heads := [head for layer, head in self._heads if layer == index]:
            split = graph.node("Reshape", weights, self._aligned_shape)
            self._aligned.append(graph.node("Gather", split, graph.constant(heads, np.int64), axis=1))
        value = graph.node("Reshape", value, self._cross_value_shape)
        return self._output(graph.node("MatMul", weights, value), name)

    def _query(self, x: str, name: str, shape: str) -> str:
        """[n * batch, d_model] -> `shape`: [n, batch * heads, dim], or [n * batch / windows, windows * heads, dim].

        The scale of the scores is in the weights, where it is exact (1/8 in every published model): ONNX Runtime's
        product of a row and a matrix is three times slower with a factor of its own.
        """
        name = f"{name}.q_proj"
        query = self._layers.linear(x, f"{name}.weight", f"{name}.bias", name=name, scale=self._scale)
        return self._graph.node("Reshape", query, shape)

    def _output(self, x: str, name: str) -> str:
        """[batch * heads, n, dim] -> [n * batch, d_model]."""
        graph = self._graph
        joined = graph.node("Reshape", graph.node("Transpose", x, perm=[1, 0, 2]), self._flat)
        return self._linear(joined, f"{name}.out_proj")

    def _logits(self, x: str) -> None:
        graph, shape = self._graph, self._shape
        last = graph.node("Gather", graph.node("Reshape", x, self._by_new), graph.constant(-1, np.int64), axis=0)
        last = self._norm(last, self._tensors.decoder("layer_norm"))
        projection = self._tensors.projection(shape)
        if self._layers.precision == "int8":
            logits = self._layers.linear_tied(last, projection, name="projection")
        else:
            product = graph.node("MatMul", last, self._columns(projection), name="projection")
            logits = self._layers.to_float32(product)
        graph.output(logits, "logits", np.float32, ["batch", shape.vocab_size])

    def _product(self, a: str, b: str, **how: Any) -> str:
        return self._graph.node("FusedMatMul", a, b, domain=CONTRIB_DOMAIN, **how)

    def _norm(self, x: str, name: str) -> str:
        return self._layers.layer_norm(x, f"{name}.weight", f"{name}.bias", epsilon=LAYER_NORM_EPSILON, name=name)

    def _linear(self, x: str, name: str) -> str:
        return self._layers.linear(x, f"{name}.weight", f"{name}.bias", name=name)
