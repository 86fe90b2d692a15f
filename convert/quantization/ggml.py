"""What llama.cpp's tensor library says of tensor types, and the tensors of a running graph, through ctypes.

The functions are exported by the shared libraries that come with llama-cpp-python; `Tensor` is `struct ggml_tensor` of
exactly the version that this project pins (`ggml/include/ggml.h`).
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from agent.engines.llama.library import llama

MUL_MAT, MUL_MAT_ID = "MUL_MAT", "MUL_MAT_ID"
"""A matrix product, and one with a matrix chosen per token (mixture of experts)."""

F32, F16, BF16 = 0, 1, 30
"""`enum ggml_type`: the types that are not quantized."""

_FIRST_OPS: Final = 64
"""`enum ggml_op` has more than so many; both that are needed here are among the first."""

_NOT_QUANTIZERS: Final = frozenset({"i8", "i16", "i32", "i64", "f64", "q8_1", "q8_K"})
"""Types that no file is quantized to: ggml_quantize_chunk has no case for them."""


class Tensor(ctypes.Structure):
    """`struct ggml_tensor`: `ne` are sizes in elements, fastest first; `nb` strides in bytes."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("buffer", ctypes.c_void_p),
        ("ne", ctypes.c_int64 * 4),
        ("nb", ctypes.c_size_t * 4),
        ("op", ctypes.c_int),
        ("op_params", ctypes.c_int32 * 16),
        ("flags", ctypes.c_int32),
        ("src", ctypes.c_void_p * 10),
        ("view_src", ctypes.c_void_p),
        ("view_offs", ctypes.c_size_t),
        ("data", ctypes.c_void_p),
        ("name", ctypes.c_char * 64),
        ("extra", ctypes.c_void_p),
        ("padding", ctypes.c_char * 8),
    )


@dataclass(frozen=True)
class TensorType:
    """A type of tensor: `block_values` values take `block_bytes` bytes."""

    number: int
    name: str
    block_values: int
    block_bytes: int
    quantized: bool

    def bytes_of(self, shape: tuple[int, ...]) -> int:
        """The size of a tensor whose rows, the first of `shape`, hold a whole number of blocks."""
        rows = 1
        for size in shape[1:]:
            rows *= size
        return shape[0] // self.block_values * self.block_bytes * rows


def _function(name: str, returns: Any, *takes: Any) -> Any:
    found = getattr(llama._lib, name)
    found.restype, found.argtypes = returns, list(takes)
    return found


_type_name = _function("ggml_type_name", ctypes.c_char_p, ctypes.c_int)
_block_values = _function("ggml_blck_size", ctypes.c_int64, ctypes.c_int)
_block_bytes = _function("ggml_type_size", ctypes.c_size_t, ctypes.c_int)
_is_quantized = _function("ggml_is_quantized", ctypes.c_bool, ctypes.c_int)
_op_name = _function("ggml_op_name", ctypes.c_char_p, ctypes.c_int)
_is_host = _function("ggml_backend_buffer_is_host", ctypes.c_bool, ctypes.c_void_p)
_nbytes = _function("ggml_nbytes", ctypes.c_size_t, ctypes.c_void_p)
_tensor_get = _function(
    "ggml_backend_tensor_get", None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t
)


@cache
def types_by_number() -> dict[int, TensorType]:
    """Every type of tensor there is, by its number in a GGUF file."""
    types: dict[int, TensorType] = {}
    for number in range(llama.GGML_TYPE_COUNT):
        values = _block_values(number)
        if values > 0:  # 0: a type that was removed
            name = _type_name(number).decode()
            types[number] = TensorType(number, name, values, _block_bytes(number), _is_quantized(number))
    return types


@cache
def types_by_name() -> dict[str, TensorType]:
    """Types that a tensor can be quantized or converted to, by name in capitals: "Q4_K", "IQ3_S", "F16", ..."""
    return {kind.name.upper(): kind for kind in types_by_number().values() if kind.name not in _NOT_QUANTIZERS}


@cache
def _all_by_name() -> dict[str, TensorType]:
    return {kind.name.upper(): kind for kind in types_by_number().values()}


def tensor_type(name: str) -> TensorType:
    """Any type by its name in capitals, those included that nothing is quantized to. Raises `KeyError`."""
    return _all_by_name()[name]


@cache
def op_number(name: str) -> int:
    """The number of an operation in this very library. Raises `StopIteration` if it has none."""
    return next(number for number in range(_FIRST_OPS) if _op_name(number) == name.encode())


def tensor_at(address: int) -> Tensor:
    return Tensor.from_address(address)


def read_bytes(address: int, tensor: Tensor) -> memoryview:
    """The bytes of a tensor: in place where they are in host memory, else a copy from the device."""
    size: int = _nbytes(address)
    if _is_host(tensor.buffer):
        return memoryview((ctypes.c_char * size).from_address(tensor.data)).cast("B")
    copied = ctypes.create_string_buffer(size)
    _tensor_get(address, copied, 0, size)
    return memoryview(copied).cast("B")
