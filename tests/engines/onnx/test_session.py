"""Opening graphs that are broken or hostile, and settings of the machine."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from agent.engines.onnx.external import external_locations
from agent.engines.onnx.session import SessionOptions, open_session, run, sums_overflow, translated
from agent.errors import EngineError, ModelLoadError

ONE = SessionOptions(threads=1)
NUMBERS = np.arange(64, dtype=np.float32)


def external(name: str, location: str) -> TensorProto:
    tensor = TensorProto(name=name, dims=[64], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="offset", value="0")
    tensor.external_data.add(key="location", value=location)
    return tensor


def graph_with(*initializers: TensorProto, nodes: list[onnx.NodeProto] | None = None) -> bytes:
    """y = x + w."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [64]) for name in "xy")
    made = [helper.make_node("Add", ["x", "w"], ["y"])] if nodes is None else nodes
    graph = helper.make_graph(made, "g", [x], [y], list(initializers))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def within_branches(location: str) -> bytes:
    """The tensor is in a constant, in a branch of an If, in a branch of an If."""
    out = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [64])]
    constant = helper.make_node("Constant", [], ["w"], value=external("w", location))
    for _ in range(2):
        inner = helper.make_graph([constant, helper.make_node("Add", ["x", "w"], ["y"])], "branch", [], out)
        constant = helper.make_node("If", ["c"], ["w"], then_branch=inner, else_branch=inner)
    return graph_with(nodes=[constant])


def test_external_data_beside_the_graph_is_read(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(NUMBERS.tobytes())
    (tmp_path / "m.onnx").write_bytes(graph_with(external("w", "w.bin")))
    session = open_session(tmp_path / "m.onnx", ONE)
    np.testing.assert_array_equal(run(session, ["y"], {"x": NUMBERS})[0], 2 * NUMBERS)


@pytest.mark.parametrize("make", [lambda location: graph_with(external("w", location)), within_branches])
@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("../secret", "not a file of its folder"),
        ("/etc/passwd", "not a file of its folder"),
        ("a/../../secret", "not a file of its folder"),
        ("", "not a file of its folder"),
        ("..\\secret", "not a file of its folder"),
        ("w.bin\0.txt", "not a file of its folder"),
        ("missing.bin", "that file is missing"),
        ("link.bin", "a link that leads out of its folder"),
        ("folder", "that file is missing"),
    ],
)
def test_external_data_elsewhere_is_refused(
    make: Callable[[str], bytes], location: str, says: str, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    (folder / "folder").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(NUMBERS.tobytes())
    (folder / "link.bin").symlink_to(tmp_path / "secret")
    (folder / "m.onnx").write_bytes(make(location))
    with pytest.raises(ModelLoadError, match=says):
        open_session(folder / "m.onnx", ONE)


def test_a_later_location_of_the_same_tensor_is_the_one_that_counts(tmp_path: Path) -> None:
    tensor = external("w", "w.bin")
    tensor.external_data.add(key="location", value="../secret")
    (tmp_path / "m.onnx").write_bytes(graph_with(tensor))
    assert external_locations(tmp_path / "m.onnx") == {"w.bin", "../secret"}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\xff" * 40, "is not an ONNX graph, or is cut off"),
        (
            graph_with(helper.make_tensor("w", TensorProto.FLOAT, [64], NUMBERS))[:-40],
            "is not an ONNX graph, or is cut",
        ),
        (graph_with(nodes=[helper.make_node("Nonsense", ["x"], ["y"])]), "cannot be loaded: .*Nonsense"),
        (b"\x08\x09", "cannot be loaded"),
    ],
)
def test_broken_graphs(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ModelLoadError, match=says) as caught:
        open_session(tmp_path / "m.onnx", ONE)
    assert "\n" not in str(caught.value)


@given(st.binary(min_size=1, max_size=200))
def test_whatever_the_bytes_are_the_walk_ends(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.onnx"
        path.write_bytes(content)
        with suppress(ModelLoadError):
            assert all(isinstance(location, str) for location in external_locations(path))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="is not a file"):
        open_session(tmp_path / "m.onnx", ONE)


def test_a_provider_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(graph_with(helper.make_tensor("w", TensorProto.FLOAT, [64], NUMBERS)))
    with pytest.raises(ModelLoadError, match="has no HopeExecutionProvider") as caught:
        open_session(tmp_path / "m.onnx", SessionOptions(providers=("HopeExecutionProvider",)))
    assert "CPUExecutionProvider" in caught.value.hint
    with pytest.raises(ModelLoadError, match="No provider is given"):
        open_session(tmp_path / "m.onnx", SessionOptions(providers=()))


def test_errors_of_a_run_are_translated(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(graph_with(helper.make_tensor("w", TensorProto.FLOAT, [64], NUMBERS)))
    session = open_session(tmp_path / "m.onnx", ONE)
    with pytest.raises(EngineError, match=r"The model failed while it ran: .*dimensions"):
        run(session, ["y"], {"x": NUMBERS[:3]})
    with pytest.raises(EngineError, match="The step failed while it ran: "), translated("The step"):
        session.run(["nothing"], {"x": NUMBERS})


@pytest.mark.parametrize(
    ("machine", "flags", "overflow"),
    [
        ("x86_64", ["avx2", "avx512f"], True),
        ("AMD64", [], True),
        ("x86_64", ["avx2", "avx_vnni"], False),
        ("x86_64", ["avx512f", "avx512_vnni"], False),
        ("aarch64", ["asimddp"], False),
        ("arm64", [], False),
    ],
)
def test_only_x86_without_vnni_overflows(machine: str, flags: list[str], overflow: bool) -> None:
    assert sums_overflow(machine, flags) is overflow
