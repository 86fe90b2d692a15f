"""Each layer computes what numpy does, in each precision."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from agent.engines.onnx.session import SessionOptions, open_session, run
from agent.errors import ArtifactError
from convert.checkpoint import Checkpoint, open_checkpoint
from convert.onnx import int8
from convert.onnx.graph import Graph
from convert.onnx.layers import PRECISIONS, Layers, Precision
from tests.convert.hf_folder import write_checkpoint

RANDOM = np.random.RandomState(5)
TENSORS = {
    "a.weight": RANDOM.standard_normal((6, 8)).astype(np.float32),
    "a.bias": RANDOM.standard_normal(6).astype(np.float32),
    "b.weight": RANDOM.standard_normal((3, 8)).astype(np.float32),
    "norm.weight": RANDOM.standard_normal(8).astype(np.float32),
    "norm.bias": RANDOM.standard_normal(8).astype(np.float32),
    "table": (RANDOM.standard_normal((50, 8)) * np.geomspace(0.01, 100, 50)[:, None]).astype(np.float32),
    "conv.weight": RANDOM.standard_normal((5, 8, 3)).astype(np.float32),
    "conv.bias": RANDOM.standard_normal(5).astype(np.float32),
}
X = RANDOM.standard_normal((2, 7, 8)).astype(np.float32)
TOLERANCE = {"fp32": 1e-5, "fp16": 2e-2, "int8": 8e-2}

FloatArray = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkpoint]:
    with open_checkpoint(write_checkpoint(tmp_path_factory.mktemp("m"), {}, TENSORS)) as opened:
        yield opened


class Computed:
    """Builds a graph of one layer around `make`, runs it on `x`."""

    def __init__(self, checkpoint: Checkpoint, precision: Precision, folder: Path) -> None:
        self._checkpoint = checkpoint
        self._precision = precision
        self._folder = folder
        self.graph = Graph("one")

    def __call__(
        self, make: Callable[[Layers, str], str], x: npt.NDArray[np.float32] | npt.NDArray[np.int64]
    ) -> FloatArray:
        layers = Layers(self.graph, self._checkpoint, self._precision)
        given = self.graph.input("x", x.dtype, [f"d{i}" if i < x.ndim - 1 else x.shape[-1] for i in range(x.ndim)])
        value = make(layers, layers.from_float32(given) if x.dtype == np.float32 else given)
        self.graph.output(layers.to_float32(value), "y", np.float32, [])
        # The rank is not declared: let ONNX Runtime infer it.
        self.graph._outputs[0].type.tensor_type.ClearField("shape")
        path = self._folder / "m.onnx"
        self.graph.save(path)
        result: FloatArray = run(open_session(path, SessionOptions(threads=1)), ["y"], {"x": x})[0]
        return result


@pytest.fixture(params=PRECISIONS)
def precision(request: pytest.FixtureRequest) -> Precision:
    chosen: Precision = request.param
    return chosen


@pytest.fixture
def compute(checkpoint: Checkpoint, precision: Precision, tmp_path: Path) -> Computed:
    return Computed(checkpoint, precision, tmp_path)


def near(ours: FloatArray, theirs: npt.NDArray[np.floating], precision: Precision) -> None:
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=TOLERANCE[precision] * float(np.abs(theirs).max()) / 4, rtol=0)


def erf_gelu(x: FloatArray) -> FloatArray:
    return (x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))).astype(np.float32)


def test_linear(compute: Computed, precision: Precision) -> None:
    ours = compute(lambda layers, x: layers.linear(x, "a.weight", "a.bias", name="a", scale=0.5), X)
    near(ours, (X @ TENSORS["a.weight"].T + TENSORS["a.bias"]) * 0.5, precision)


def test_several_linear_side_by_side(compute: Computed, precision: Precision) -> None:
    ours = compute(lambda layers, x: layers.linear(x, ["b.weight", "a.weight"], [None, "a.bias"], name="ba"), X)
    want = [X @ TENSORS["b.weight"].T, X @ TENSORS["a.weight"].T + TENSORS["a.bias"]]
    near(ours, np.concatenate(want, axis=-1), precision)


def test_layer_norm(compute: Computed, precision: Precision) -> None:
    ours = compute(lambda layers, x: layers.layer_norm(x, "norm.weight", "norm.bias", epsilon=1e-5, name="norm"), X)
    centered = X - X.mean(-1, keepdims=True)
    want = centered / np.sqrt(X.var(-1, keepdims=True) + 1e-5) * TENSORS["norm.weight"] + TENSORS["norm.bias"]
    near(ours, want, precision)


@pytest.mark.parametrize(
    ("function", "want"),
    [
        ("gelu", erf_gelu),
        ("gelu_new", lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))),
        ("relu", lambda x: np.maximum(x, 0)),
        ("silu", lambda x: x / (1 + np.exp(-x))),
        ("tanh", np.tanh),
    ],
)
def test_activation(
    function: str, want: Callable[[FloatArray], FloatArray], compute: Computed, precision: Precision
) -> None:
    near(compute(lambda layers, x: layers.activation(x, function), X), want(X), precision)


def test_conv1d(compute: Computed, precision: Precision) -> None:
    x = np.ascontiguousarray(X.transpose(0, 2, 1))
    ours = compute(lambda layers, x: layers.conv1d(x, "conv.weight", "conv.bias", stride=2, padding=1, name="conv"), x)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1)))
    columns = [np.einsum("bck,nck->bn", padded[:, :, i : i + 3], TENSORS["conv.weight"]) for i in range(0, 7, 2)]
    near(ours, np.stack(columns, axis=-1) + TENSORS["conv.bias"][:, None], precision)


def test_embedding_rows_have_their_own_scale(compute: Computed, precision: Precision) -> None:
    ids = np.array([[0, 49, 7], [1, 1, 30]])
    ours = compute(lambda layers, x: layers.embedding(x, "table"), ids)
    want = TENSORS["table"][ids]
    # The smallest row is 10,000 times smaller than the largest, and as exact.
    worst = np.abs(ours - want).max(-1) / np.abs(want).max(-1)
    assert worst.max() <= {"fp32": 0, "fp16": 1e-3, "int8": 0.5 / 127 + 1e-6}[precision]


def test_a_tied_table_is_stored_once(compute: Computed, precision: Precision) -> None:
    def make(layers: Layers, x: str) -> str:
        return layers.linear_tied(layers.embedding(x, "table"), "table", name="logits")

    ids = np.array([[0, 49, 7], [1, 1, 30]])
    ours = compute(make, ids)
    want = TENSORS["table"][ids] @ TENSORS["table"].T
    scale = np.abs(want).max(-1, keepdims=True)
    np.testing.assert_allclose(ours / scale, want / scale, atol=TOLERANCE[precision] / 4)
    item_bytes = {"fp32": 4, "fp16": 2, "int8": 1}[precision]
    assert compute.graph.weight_bytes == 400 * item_bytes + (2 * 200 if precision == "int8" else 0)


def test_int8_positions_do_not_touch_each_other(checkpoint: Checkpoint, tmp_path: Path) -> None:
    def make(layers: Layers, x: str) -> str:
        return layers.linear(x, "a.weight", "a.bias", name="a")

    quiet = Computed(checkpoint, "int8", tmp_path)(make, X)
    loud_x = X.copy()
    loud_x[0, 3] *= 1000
    (tmp_path / "loud").mkdir()
    loud = Computed(checkpoint, "int8", tmp_path / "loud")(make, loud_x)
    others = [0, 1, 2, 4, 5, 6]
    np.testing.assert_array_equal(loud[1], quiet[1])
    np.testing.assert_array_equal(loud[0, others], quiet[0, others])


def test_int8_of_zeros_is_the_bias(checkpoint: Checkpoint, tmp_path: Path) -> None:
    compute = Computed(checkpoint, "int8", tmp_path)
    ours = compute(lambda layers, x: layers.linear(x, "a.weight", "a.bias", name="a"), np.zeros_like(X))
    np.testing.assert_array_equal(ours, np.broadcast_to(TENSORS["a.bias"], ours.shape))


def test_quantize_is_within_half_a_step_and_keeps_zero_rows() -> None:
    matrix = np.concatenate([TENSORS["table"], np.zeros((1, 8), np.float32)])
    values, steps = int8.quantize(matrix.copy())
    assert values.dtype == np.int8
    assert values.min() >= -127
    assert (np.abs(values * steps[:, None] - matrix) <= 0.5001 * steps[:, None]).all()
    assert not values[-1].any()
    assert steps[-1] == 1


def test_faults_are_named(checkpoint: Checkpoint) -> None:
    layers = Layers(Graph("x"), checkpoint, "int8")
    x = layers.graph.input("x", np.float32, [1, 8])
    with pytest.raises(ArtifactError, match=r"has no tensor c\.weight"):
        layers.linear(x, "c.weight", name="c")
    with pytest.raises(ArtifactError, match=r"a.weight has the shape \[6, 8\], expected \[8, 6\]"):
        layers.linear(x, "a.weight", name="a", shape=(8, 6))
    with pytest.raises(ArtifactError, match=r"norm.bias has the shape \[8\], expected \[6\]"):
        layers.linear(x, "a.weight", "norm.bias", name="a")
    with pytest.raises(ArtifactError, match="not matrices of one width"):
        layers.linear(x, ["a.weight", "norm.weight"], name="a")
    with pytest.raises(ArtifactError, match="the activation 'softplus' is not supported"):
        layers.activation(x, "softplus")
