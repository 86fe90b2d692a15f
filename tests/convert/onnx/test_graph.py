"""Graphs load in ONNX Runtime with their weights inside or beside, and are the same bytes each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from agent.errors import ArtifactError
from convert.onnx.graph import Graph

WEIGHT = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)


def build(loads: list[str] | None = None) -> Graph:
    def load() -> np.ndarray:
        if loads is not None:
            loads.append("weight")
        return WEIGHT

    graph = Graph("toy")
    x = graph.input("x", np.float32, ["rows", 4])
    product = graph.node("MatMul", x, graph.weight("weight", load, WEIGHT.shape, np.float32))
    graph.output(graph.node("Add", product, graph.constant(1.0, np.float32)), "y", np.float32, ["rows", 3])
    return graph


@pytest.mark.parametrize("inline_limit_bytes", [0, 2**20])
def test_a_graph_computes_wherever_its_weights_are(tmp_path: Path, inline_limit_bytes: int) -> None:
    build().save(tmp_path / "m.onnx", inline_limit_bytes=inline_limit_bytes)
    assert (tmp_path / "m.onnx.data").exists() == (inline_limit_bytes == 0)
    onnx.checker.check_model(tmp_path / "m.onnx", full_check=True)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    x = np.ones((2, 4), np.float32)
    assert np.allclose(session.run(None, {"x": x})[0], x @ WEIGHT + 1, atol=1e-6)


def test_weights_are_loaded_when_they_are_written_and_once(tmp_path: Path) -> None:
    loads: list[str] = []
    graph = build(loads)
    assert (graph.weight_bytes, loads) == (48, [])
    graph.save(tmp_path / "m.onnx")
    assert loads == ["weight"]


def test_the_same_graph_is_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        build().save(tmp_path / f"{name}.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_a_constant_is_stored_once_and_a_weight_named_once() -> None:
    graph = Graph("toy")
    assert graph.constant([1, 2], np.int64) == graph.constant([1, 2], np.int64)
    assert graph.constant(1, np.int64) != graph.constant([1], np.int64)
    graph.weight("w", lambda: WEIGHT, WEIGHT.shape, np.float32)
    with pytest.raises(ValueError, match="there already"):
        graph.weight("w", lambda: WEIGHT, WEIGHT.shape, np.float32)


def test_a_weight_that_is_not_what_was_announced_is_refused(tmp_path: Path) -> None:
    graph = Graph("toy")
    graph.weight("w", lambda: WEIGHT.T, WEIGHT.shape, np.float32)
    with pytest.raises(ArtifactError, match=r"w is float32 \[3, 4\], expected float32 \[4, 3\]"):
        graph.save(tmp_path / "m.onnx")
