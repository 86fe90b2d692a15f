"""The layers of a transformer as ONNX nodes, with weights from a checkpoint in one of three precisions.

fp32  everything as it is.
fp16  weights and activations are float16: for CUDA. On a CPU, ONNX Runtime inserts casts.
int8  `linear` and `linear_tied` multiply 8-bit integers, `embedding` reads an 8-bit table (see
      `convert.onnx.int8`); all else, and what goes in and out of each layer, is float32.

Each method adds nodes and returns the name of the value they make. Shapes are written with B for the batch, n for the
positions, and K and N for the width in and out. A tensor that the checkpoint lacks is an `ArtifactError` at once; its
values are read when the graph is saved.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, cast, get_args

import numpy as np
import numpy.typing as npt

from agent.errors import ArtifactError
from convert.checkpoint import Checkpoint
from convert.onnx import int8
from convert.onnx.graph import CONTRIB_DOMAIN, Graph
from convert.onnx.half import to_half

Precision = Literal["fp32", "int8", "fp16"]
PRECISIONS: Final = cast("tuple[Precision, ...]", get_args(Precision))

FloatArray = npt.NDArray[np.float32]


class Layers:
    """Layers of one graph. `dtype` is that of the activations between them."""

    def __init__(self, graph: Graph, checkpoint: Checkpoint, precision: Precision) -> None:
        self.graph = graph
        self.checkpoint = checkpoint
        self.precision = precision
        self.dtype: npt.DTypeLike = np.float16 if precision == "fp16" else np.float32
        self._rows: dict[str, int8.Rows] = {}
        self._tables: dict[str, int8.Quantized] = {}

    # -- values -------------------------------------------------------------------------------------------------------

    def constant(self, value: float | Sequence[float] | FloatArray) -> str:
        """A small constant in the activations' dtype."""
        return self.graph.constant(np.asarray(value, dtype=self.dtype))

    def parameter(
        self,
        tensor: str,
        *,
        shape: Sequence[int] | None = None,
        change: Callable[[FloatArray], FloatArray] | None = None,
        changed_shape: Sequence[int] | None = None,
        name: str | None = None,
    ) -> str:
        """A tensor of the checkpoint in the activations' dtype, for whatever has no method here.

        `change` is applied when it is written (give `changed_shape` where it makes another, and a `name` where the
        same tensor is used in two ways). The same name twice is stored once. Raises `ArtifactError`.
        """
        name = name or tensor
        found = self._shape(tensor, shape)
        if not self.graph.has_weight(name):

            def load() -> npt.NDArray[Any]:
                array = self.checkpoint.tensor(tensor, shape)
                return self._stored(array if change is None else change(array), tensor)

            self.graph.weight(name, load, tuple(changed_shape or found), self.dtype)
        return name

    def to_float32(self, x: str) -> str:
        """`x` in float32, for an output."""
        return x if self.dtype == np.float32 else self.graph.node("Cast", x, to=1)

    def from_float32(self, x: str) -> str:
        """A float32 input in the activations' dtype."""
        return x if self.dtype == np.float32 else self.graph.node("Cast", x, to=10)

    # -- layers -------------------------------------------------------------------------------------------------------

    def linear(
        self,
        x: str,
        weight: str | Sequence[str],
        bias: str | Sequence[str | None] | None = None,
        *,
        name: str,
        shape: Sequence[int] | None = None,
        scale: float = 1.0,
    ) -> str:
        """x [B, n, K] -> scale * (x @ weight.T + bias) [B, n, N]; weight is [N, K] and bias [N] in the checkpoint.

        Several weights (and as many biases, None for one that has none) are one multiplication: the result is their
        results side by side, [B, n, sum of N], which `Split` takes apart. Q, K and V are faster so. `scale` goes into
        the weights. `shape` is what each weight must have. In int8, x is quantized once for all `linear` that read it.
        """
        parts = self._linear_parts(weight, bias, name, shape, scale)
        if self.precision == "int8":
            return int8.multiply(self.graph, self._quantized(x), self._int8_columns(name, parts), name)
        dims = (parts.width, parts.outputs)
        self.graph.weight(f"{name}.weight", lambda: self._stored(_transposed(parts.rows()), name), dims, self.dtype)
        y = self.graph.node("MatMul", x, f"{name}.weight", name=name)
        return self._add_bias(y, parts, name)

    def layer_norm(self, x: str, weight: str, bias: str | None, *, epsilon: float, name: str) -> str:
        """Over the last axis: (x - mean) / sqrt(variance + epsilon) * weight + bias, [.., K] -> [.., K]."""
        inputs = [x, self.parameter(weight), *([self.parameter(bias)] if bias else [])]
        # epsilon 1e-12, as BERT has it, is 0 in float16: but ONNX Runtime computes the variance in float32.
        return self.graph.node("LayerNormalization", *inputs, name=name, axis=-1, epsilon=float(epsilon))

    def gelu(self, x: str, *, tanh: bool = False) -> str:
        """x * Phi(x), of any shape: with erf, or with the approximation by tanh."""
        return self.graph.node("FastGelu" if tanh else "Gelu", x, domain=CONTRIB_DOMAIN)

    def activation(self, x: str, function: str) -> str:
        """The function that transformers calls so in `hidden_act`. Raises `ArtifactError` for one not built here."""
        if function in ("gelu", "gelu_python"):
            return self.gelu(x)
        if function in ("gelu_new", "gelu_fast", "gelu_pytorch_tanh"):
            return self.gelu(x, tanh=True)
        if function == "relu":
            return self.graph.node("Relu", x)
        if function == "tanh":
            return self.graph.node("Tanh", x)
        if function in ("silu", "swish"):
            return self.graph.node("Mul", x, self.graph.node("Sigmoid", x))
        raise ArtifactError(
            f"config.json: the activation {ascii(function)[:40]} is not supported.",
            hint="Supported: gelu, gelu_new, gelu_fast, gelu_pytorch_tanh, relu, silu, swish, tanh.",
            param="hidden_act",
        )

    def embedding(self, ids: str, table: str, *, shape: Sequence[int] | None = None) -> str:
        """ids int64 [..] -> rows of the table [.., K]; the table is [vocabulary, K] in the checkpoint.

        In int8 the table is stored in 8 bits with a scale for each row. `linear_tied` on the same table reads the same
        stored bytes, whichever of the two is called first.
        """
        if self.precision == "int8":
            self._int8_table(table, shape)
            return int8.gather(self.graph, ids, table, f"{table}.steps")
        return self.graph.node("Gather", self.parameter(table, shape=shape), ids, axis=0)

    def linear_tied(self, x: str, table: str, *, name: str, shape: Sequence[int] | None = None) -> str:
        """x [B, n, K] -> x @ table.T, float32 [B, n, vocabulary]: the logits of a model whose output projection is its
        embedding. The table is stored once.
        """
        if self.precision == "int8":
            rows = self._int8_table(table, shape)
            offsets = f"{table}.offsets"
            if not self.graph.has_weight(offsets):
                # ONNX Runtime transposes once, when it loads the model.
                self.graph.weight(offsets, rows.offsets, (1, self._shape(table)[0]), np.float32)
            matrix = self.graph.node("Transpose", table, perm=[1, 0])
            columns = int8.Columns(matrix, f"{table}.steps", offsets, has_bias=False)
            return int8.multiply(self.graph, self._quantized(x), columns, name)
        vocabulary, width = self._shape(table, shape)
        stored = self.parameter(table, shape=shape)
        flat = self.graph.node("Reshape", x, self.graph.constant([-1, width], np.int64))
        # Gemm reads the table as it is; a MatMul would need it transposed, and so a second time.
        y = self.to_float32(self.graph.node("Gemm", flat, stored, name=name, transB=1))
        return self._unflatten(y, x, vocabulary)

    def conv1d(self, x: str, weight: str, bias: str, *, stride: int, padding: int, name: str) -> str:
        """x [B, C, n] -> [B, N, ceil]; weight [N, C, kernel] in the checkpoint. Not quantized: it is a small part."""
        return self.graph.node(
            "Conv", x, self.parameter(weight), self.parameter(bias), name=name, strides=[stride], pads=[padding] * 2
        )

    # -- how ----------------------------------------------------------------------------------------------------------

    def _shape(self, tensor: str, expected: Sequence[int] | None = None) -> tuple[int, ...]:
        found = self.checkpoint.shape(tensor)
        if expected is not None and found != tuple(expected):
            raise ArtifactError(
                f"The tensor {tensor} has the shape {list(found)}, expected {list(expected)}.",
                hint="config.json and the weights are not of the same model.",
            )
        return found

    def _quantized(self, x: str) -> int8.Rows:
        if x not in self._rows:
            self._rows[x] = int8.quantize_rows(self.graph, x)
        return self._rows[x]

    def _int8_columns(self, name: str, parts: _Linear) -> int8.Columns:
        """The matrix, stored as `name`."""
        quantized = int8.Quantized(parts.rows, parts.bias if parts.has_bias else None, transposed=True)
        weight, steps, offsets = f"{name}.weight", f"{name}.weight.steps", f"{name}.weight.offsets"
        self.graph.weight(weight, quantized.values, (parts.width, parts.outputs), np.int8)
        self.graph.weight(steps, quantized.steps, (parts.outputs,), np.float32)
        self.graph.weight(offsets, quantized.offsets, (1 + parts.has_bias, parts.outputs), np.float32)
        return int8.Columns(weight, steps, offsets, has_bias=parts.has_bias)

    def _int8_table(self, table: str, shape: Sequence[int] | None) -> int8.Quantized:
        """Store the table as int8 [vocabulary, K] and its steps [vocabulary], if it is not yet."""
        found = self._shape(table, shape)
        if table not in self._tables:
            quantized = self._tables[table] = int8.Quantized(lambda: self.checkpoint.tensor(table))
            self.graph.weight(table, quantized.values, found, np.int8)
            self.graph.weight(f"{table}.steps", quantized.steps, found[:1], np.float32)
        return self._tables[table]

    def _stored(self, array: FloatArray, name: str) -> npt.NDArray[Any]:
        return to_half(array, name) if self.precision == "fp16" else array

    def _linear_parts(
        self,
        weight: str | Sequence[str],
        bias: str | Sequence[str | None] | None,
        name: str,
        shape: Sequence[int] | None,
        scale: float,
    ) -> _Linear:
        weights = (weight,) if isinstance(weight, str) else tuple(weight)
        biases = (bias,) * len(weights) if bias is None or isinstance(bias, str) else tuple(bias)
        if len(biases) != len(weights):
            raise ValueError(f"{name}: {len(weights)} weights and {len(biases)} biases")
        shapes = [self._shape(one, shape) for one in weights]
        if any(len(found) != 2 or found[1] != shapes[0][1] for found in shapes):
            raise ArtifactError(f"{name}: the tensors {', '.join(weights)} are not matrices of one width.")
        for one, found in zip(biases, shapes, strict=True):
            if one is not None:
                self._shape(one, found[:1])
        return _Linear(self.checkpoint, weights, biases, tuple(found[0] for found in shapes), shapes[0][1], scale)

    def _add_bias(self, y: str, parts: _Linear, name: str) -> str:
        if not parts.has_bias:
            return y
        stored = self.graph.weight(
            f"{name}.bias", lambda: self._stored(parts.bias(), name), (parts.outputs,), self.dtype
        )
        return self.graph.node("Add", y, stored)

    def _unflatten(self, y: str, like: str, width: int) -> str:
        """y [B * n, width] -> [B, n, width], with B and n those of `like`."""
        leading = self.graph.node("Shape", like, end=-1)
        shape = self.graph.node("Concat", leading, self.graph.constant([width], np.int64), axis=0)
        return self.graph.node("Reshape", y, shape)


class _Linear:
    """The weights of one multiplication, read when they are written."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        weights: tuple[str, ...],
        biases: tuple[str | None, ...],
        sizes: tuple[int, ...],
        width: int,
        scale: float,
    ) -> None:
        self._checkpoint = checkpoint
        self._weights = weights
        self._biases = biases
        self._sizes = sizes  # of the parts of N
        self._scale = np.float32(scale)
        self.width = width
        self.outputs = sum(sizes)
        self.has_bias = any(bias is not None for bias in biases)

    def rows(self) -> FloatArray:
        """[N, K]."""
        parts = [self._checkpoint.tensor(name) for name in self._weights]
        rows = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if self._scale != 1:
            rows *= self._scale
        return rows

    def bias(self) -> FloatArray:
        """[N], zero where a part has none."""
        parts = [
            np.zeros(size, np.float32) if name is None else self._checkpoint.tensor(name)
            for name, size in zip(self._biases, self._sizes, strict=True)
        ]
        return np.concatenate(parts) * self._scale


def _transposed(matrix: FloatArray) -> FloatArray:
    return np.ascontiguousarray(matrix.T)
