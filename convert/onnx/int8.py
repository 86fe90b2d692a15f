"""8-bit weights and activations.

A matrix [K, N] is stored as int8 with one scale (step) for each column. An activation is quantized while the model
runs, each row (position) on its own: 255 steps from its least value to its largest. So one loud position costs the
others nothing, and neither do the other texts of a batch. The product of the integers is exact (int32):

    x[m, k] = least[m] + row_step[m] * q[m, k]          w[k, n] = column_step[n] * v[k, n]
    y[m, n] = row_step[m] * column_step[n] * sum over k of q[m, k] * v[k, n]
            + least[m] * sum over k of w[k, n] + bias[n]

The second line is a product of [M, 2] and [2, N]; its sums are made here.

Measured on all-MiniLM-L6-v2, the 200 built-in sentences, cosine to float32 (mean, worst): one scale for a whole
activation, which is what `quantize_dynamic` makes, 0.992, 0.960; for each row, around zero, 0.997, 0.971; for each row,
from least to largest, 0.9988, 0.987. What did not help: scales of the least squared error, and moving the range of
activations into the weights (SmoothQuant, https://arxiv.org/abs/2211.10438).

The rows are uint8, because that times int8 is what ONNX Runtime has fast kernels for on every CPU (int8 times int8 is 5
to 10 times slower on x86-64, and 8-bit MatMulNBits is as slow as float32 from 32 positions on). x86-64 without VNNI
adds pairs of such products in 16 bits, which overflow: there `agent.engines.onnx.session` sets
`session.x64quantprecision`, and ONNX Runtime then uses kernels that do not. The result is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from convert.onnx.graph import CONTRIB_DOMAIN, Graph

LEVELS: Final = 127
"""Steps of a weight on each side of zero."""
ROW_LEVELS: Final = 255
"""Steps from the least of a row to its largest."""
TINY: Final = 1e-12
"""The least range of a row: one where all values are the same must not divide by zero."""

FloatArray = npt.NDArray[np.float32]
Int8Array = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Rows:
    """A quantized activation: uint8 [.., K], float32 [.., 1] the size of its steps and its least value."""

    values: str
    steps: str
    least: str


@dataclass(frozen=True)
class Columns:
    """A stored matrix: int8 [K, N], float32 [N] the size of its steps, and `offsets`, float32 [2, N]: the sums of its
    columns, and the bias; [1, N] without a bias.
    """

    values: str
    steps: str
    offsets: str
    has_bias: bool


def quantize(matrix: FloatArray) -> tuple[Int8Array, FloatArray]:
    """A matrix [N, K] as int8 and the step of each row, [N]. Overwrites `matrix`."""
    largest = np.maximum(matrix.max(axis=1), -matrix.min(axis=1))
    steps = (largest / np.float32(LEVELS)).astype(np.float32)
    steps[steps == 0] = 1.0
    np.divide(matrix, steps[:, None], out=matrix)
    np.rint(matrix, out=matrix)
    np.clip(matrix, -LEVELS, LEVELS, out=matrix)
    return matrix.astype(np.int8), steps


def quantize_rows(graph: Graph, x: str) -> Rows:
    """Nodes that quantize x, float32 [.., K]."""
    largest = graph.node("ReduceMax", x, axes=[-1], keepdims=1)
    least = graph.node("ReduceMin", x, axes=[-1], keepdims=1)
    reach = graph.node("Max", graph.node("Sub", largest, least), graph.constant(TINY, np.float32))
    steps = graph.node("Mul", reach, graph.constant(1 / ROW_LEVELS, np.float32))
    in_steps = graph.node("Div", graph.node("Sub", x, least), steps)
    one, zero = graph.constant(1.0, np.float32), graph.constant(0, np.uint8)
    return Rows(graph.node("QuantizeLinear", in_steps, one, zero), steps, least)


def multiply(graph: Graph, rows: Rows, columns: Columns, name: str) -> str:
    """rows [.., K] times columns [K, N], with the bias -> float32 [.., N]."""
    one = graph.constant(1.0, np.float32)
    product = graph.node(
        "MatMulIntegerToFloat", rows.values, columns.values, one, columns.steps, domain=CONTRIB_DOMAIN, name=name
    )
    factors = rows.least
    if columns.has_bias:
        ones = graph.node("Div", rows.steps, rows.steps)
        factors = graph.node("Concat", rows.least, ones, axis=-1)
    offsets = graph.node("MatMul", factors, columns.offsets)
    return graph.node("Add", graph.node("Mul", product, rows.steps), offsets)


def gather(graph: Graph, ids: str, table: str, steps: str) -> str:
    """ids int64 [..] -> rows of a table stored int8 [vocabulary, K] with a step for each row, float32 [.., K]."""
    rows = graph.node("Cast", graph.node("Gather", table, ids, axis=0), to=TensorProto.FLOAT)
    chosen = graph.node("Gather", steps, ids, axis=0)
    return graph.node("Mul", rows, graph.node("Unsqueeze", chosen, graph.constant([-1], np.int64)))


class Quantized:
    """A matrix [N, K] that is quantized when a part of it is first asked for, and kept until every part has been: the
    graph writes them one after the other."""

    def __init__(
        self,
        load: Callable[[], FloatArray],
        load_bias: Callable[[], FloatArray] | None = None,
        *,
        transposed: bool = False,
    ) -> None:
        self._load = load
        self._load_bias = load_bias
        self._transposed = transposed
        self._made: dict[str, npt.NDArray[Any]] = {}

    def values(self) -> npt.NDArray[Any]:
        """int8 [N, K], or [K, N] when `transposed`."""
        return self._take("values")

    def steps(self) -> npt.NDArray[Any]:
        """float32 [N]."""
        return self._take("steps")

    def offsets(self) -> npt.NDArray[Any]:
        """float32 [1, N] the sums of the rows as they are after quantization, or [2, N] with the bias."""
        return self._take("offsets")

    def _take(self, which: str) -> npt.NDArray[Any]:
        if which not in self._made:
            values, steps = quantize(self._load())
            offsets = [values.sum(axis=1, dtype=np.int64).astype(np.float32) * steps]
            if self._load_bias is not None:
                offsets.append(self._load_bias())
            stored = np.ascontiguousarray(values.T) if self._transposed else values
            self._made = {"values": stored, "steps": steps, "offsets": np.stack(offsets)}
        return self._made.pop(which)
