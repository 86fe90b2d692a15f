"""An ONNX graph under construction, whose weights stay in the checkpoint until they are written.

A weight is a function that returns its array; `save` calls them one at a time and appends the bytes to the external
data file, so that memory holds one tensor, not the model. Small graphs keep their weights inside.

The format: https://github.com/onnx/onnx/blob/main/docs/IR.md, and docs/ExternalData.md beside it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from agent.errors import ArtifactError

OPSET: Final = 17
"""The last with every operator here, and in reach of ONNX Runtime 1.22 on every board."""
CONTRIB_DOMAIN: Final = "com.microsoft"
CONTRIB_VERSION: Final = 1
IR_VERSION: Final = 9
INLINE_LIMIT_BYTES: Final = 256 * 1024 * 1024
"""With more weights than this, they are in a file beside the graph: protobuf ends at 2 GB, and parsing copies them."""
ALIGNMENT_BYTES: Final = 4096
"""ONNX Runtime maps external data, and a mapping starts at a page."""
PRODUCER: Final = "edge-agent"

Array = npt.NDArray[Any]
Shape = Sequence[int | str]
"""A dimension that varies is named."""


class Graph:
    """Nodes are added in the order in which they run; each method returns the name of what it makes."""

    def __init__(self, name: str, *, opset: int = OPSET) -> None:
        self.name = name
        self._opset = opset
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._weights: dict[str, _Weight] = {}
        self._initializers: list[onnx.TensorProto] = []
        self._counts: dict[str, int] = {}

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights, as they will be written."""
        return sum(weight.bytes for weight in self._weights.values())

    def input(self, name: str, dtype: npt.DTypeLike, shape: Shape) -> str:
        self._inputs.append(helper.make_tensor_value_info(name, _element_type(dtype), list(shape)))
        return name

    def output(self, value: str, name: str, dtype: npt.DTypeLike, shape: Shape) -> None:
        """`value` leaves the graph as `name`."""
        if value != name:
            self._nodes.append(helper.make_node("Identity", [value], [name], name=f"output/{name}"))
        self._outputs.append(helper.make_tensor_value_info(name, _element_type(dtype), list(shape)))

    def constant(self, value: Array | Sequence[int] | int | float, dtype: npt.DTypeLike | None = None) -> str:
        """A small array that is part of the computation: the same one twice is stored once."""
        array = np.ascontiguousarray(np.asarray(value, dtype=dtype))
        array = array.reshape(np.shape(value))  # a scalar stays one
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = f"constant_{len(self._constants)}"
            self._constants[key] = name
            self._initializers.append(_tensor(name, array))
        return self._constants[key]

    def weight(self, name: str, load: Callable[[], Array], shape: Sequence[int], dtype: npt.DTypeLike) -> str:
        """A tensor that `load` returns when it is time to write it, with this shape and dtype. Named once."""
        if name in self._weights:
            raise ValueError(f"the weight {name} is there already")
        self._weights[name] = _Weight(name, load, tuple(shape), np.dtype(dtype))
        return name

    @property
    def weight_values(self) -> int:
        """How many numbers all weights have."""
        return sum(weight.values for weight in self._weights.values())

    def has_weight(self, name: str) -> bool:
        return name in self._weights

    def node(self, operator: str, *inputs: str, name: str | None = None, domain: str = "", **attributes: Any) -> str:
        """One node with one output, which is returned. An input left out is an empty name."""
        return self.nodes(operator, *inputs, outputs=1, name=name, domain=domain, **attributes)[0]

    def nodes(
        self, operator: str, *inputs: str, outputs: int, name: str | None = None, domain: str = "", **attributes: Any
    ) -> tuple[str, ...]:
        """One node with several outputs."""
        base = name or operator
        count = self._counts.get(base, 0)
        self._counts[base] = count + 1
        unique = f"{base}_{count}" if count or name is None else base
        results = tuple(f"{unique}:{index}" if outputs > 1 else unique for index in range(outputs))
        made = helper.make_node(operator, list(inputs), list(results), name=f"node/{unique}", domain=domain)
        made.attribute.extend(helper.make_attribute(key, value) for key, value in sorted(attributes.items()))
        self._nodes.append(made)
        return results

    def save(self, path: Path, *, inline_limit_bytes: int = INLINE_LIMIT_BYTES) -> None:
        """Write the graph to `path`, its weights into it or to `path` + ".data". Raises what `load` does, `OSError`."""
        inline = self.weight_bytes <= inline_limit_bytes
        initializers = list(self._initializers)
        if inline:
            initializers.extend(_tensor(weight.name, weight.read()) for weight in self._weights.values())
        else:
            initializers.extend(self._write_data(path.with_name(path.name + ".data")))
        graph = helper.make_graph(self._nodes, self.name, self._inputs, self._outputs, initializers)
        opsets = [helper.make_opsetid("", self._opset), helper.make_opsetid(CONTRIB_DOMAIN, CONTRIB_VERSION)]
        model = helper.make_model(graph, opset_imports=opsets, producer_name=PRODUCER, ir_version=IR_VERSION)
        with path.open("xb") as file:
            file.write(model.SerializeToString(deterministic=True))
            file.flush()
            os.fsync(file.fileno())

    def _write_data(self, path: Path) -> list[onnx.TensorProto]:
        tensors = []
        with path.open("xb") as file:
            for weight in self._weights.values():
                padding = -file.tell() % ALIGNMENT_BYTES
                file.write(bytes(padding))
                tensors.append(weight.external(path.name, file.tell()))
                file.write(np.ascontiguousarray(weight.read()).data)
            file.flush()
            os.fsync(file.fileno())
        return tensors


class _Weight:
    def __init__(self, name: str, load: Callable[[], Array], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.name = name
        self._load = load
        self._shape = shape
        self._dtype = dtype

    @property
    def values(self) -> int:
        return int(np.prod(self._shape, dtype=np.int64))

    @property
    def bytes(self) -> int:
        return self.values * self._dtype.itemsize

    def read(self) -> Array:
        array = self._load()
        if array.shape != self._shape or array.dtype != self._dtype:
            expected = f"{self._dtype} {list(self._shape)}"
            raise ArtifactError(f"The weight {self.name} is {array.dtype} {list(array.shape)}, expected {expected}.")
        return array

    def external(self, location: str, offset: int) -> onnx.TensorProto:
        tensor = TensorProto(name=self.name, dims=self._shape, data_type=_element_type(self._dtype))
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", str(offset)), ("length", str(self.bytes))):
            tensor.external_data.add(key=key, value=value)
        return tensor


def _tensor(name: str, array: Array) -> onnx.TensorProto:
    """As raw little-endian bytes, without the copies of `numpy_helper`."""
    return TensorProto(
        name=name,
        dims=array.shape,
        data_type=_element_type(array.dtype),
        raw_data=np.ascontiguousarray(array).tobytes(),
    )


def _element_type(dtype: npt.DTypeLike) -> int:
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
