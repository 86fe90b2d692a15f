"""The products of Q5_0 and Q8_0 weights that the build adds to ggml, called where ggml calls them."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from agent.engines.llama.library import llama

Floats = np.ndarray[Any, np.dtype[np.float32]]
Q5_0, Q8_0, F32 = 6, 8, 0
TYPES = {Q5_0: gguf.GGMLQuantizationType.Q5_0, Q8_0: gguf.GGMLQuantizationType.Q8_0}


class Parameters(ctypes.Structure):
    """The beginning of `ggml_compute_params`: this thread's number, and how many there are."""

    _fields_ = (("thread", ctypes.c_int), ("threads", ctypes.c_int), ("rest", ctypes.c_uint8 * 64))


@pytest.fixture(scope="module")
def multiply() -> Any:
    folder = Path(llama.__file__).parent / "lib"
    found = sorted(folder.glob("libggml-cpu.so*"))
    library = ctypes.CDLL(str(found[0])) if found else None
    function = getattr(library, "__wrap_llamafile_sgemm", None)
    if library is None or function is None:
        pytest.skip("llama.cpp was built without agent/engines/llama/kernels: they are for AVX-512 VNNI and VBMI")
    library.ggml_cpu_init()  # fills the tables that ggml's own kernels read
    big, pointer = ctypes.c_int64, ctypes.c_void_p
    types = [pointer, big, big, big, pointer, big, pointer, big, pointer, big, *[ctypes.c_int] * 3]
    function.argtypes, function.restype = types, ctypes.c_bool
    return function


class Fenced:
    """Memory of `size` bytes between two pages that must not be read, against either the first or the second."""

    def __init__(self, data: bytes, *, at_end: bool) -> None:
        page = mmap.PAGESIZE
        inner = -(-len(data) // page) * page
        self._map = mmap.mmap(-1, inner + 2 * page)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self.address = start + page + (inner - len(data) if at_end else 0)
        ctypes.memmove(self.address, data, len(data))
        for fence in (start, start + page + inner):
            assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(fence), page, 0) == 0


def product(multiply: Any, kind: int, weights: Floats, values: Floats, *, threads: int, at_end: bool) -> Floats:
    """What the kernel makes of quantized `weights` (rows, width) and `values` (columns, width): (columns, rows)."""
    rows, columns, blocks = len(weights), len(values), weights.shape[1] // 32
    left = Fenced(gguf.quantize(weights, TYPES[kind]).tobytes(), at_end=at_end)
    right = Fenced(gguf.quantize(values, TYPES[Q8_0]).tobytes(), at_end=at_end)
    out = np.full((columns, rows), np.nan, np.float32)
    for thread in range(threads):
        parameters = Parameters(thread, threads)
        target = ctypes.c_void_p(out.ctypes.data)
        assert multiply(
            ctypes.byref(parameters), rows, columns, blocks, left.address, blocks, right.address, blocks, target, rows,
            kind, Q8_0, F32,
        )  # fmt: skip
    return out


def expected(kind: int, weights: Floats, values: Floats) -> Floats:
    exact = [
        gguf.dequantize(gguf.quantize(rows, TYPES[of]), TYPES[of]).astype(np.float64)
        for rows, of in ((values, Q8_0), (weights, kind))
    ]
    result: Floats = (exact[0] @ exact[1].T).astype(np.float32)
    return result


def cases() -> Iterator[tuple[int, int, int, int]]:
    for columns in (*range(2, 18), 24, 31, 33):
        yield 16, 32, columns, 1
    yield from ((128, 896, 4, 2), (896, 896, 8, 2), (48, 4864, 5, 2), (16, 64, 8, 3), (80, 96, 3, 4))


@pytest.mark.parametrize("kind", [Q5_0, Q8_0])
@pytest.mark.parametrize("at_end", [False, True])
def test_products_are_those_of_the_dequantized_values(multiply: Any, kind: int, at_end: bool) -> None:
    rng = np.random.default_rng(kind)
    for rows, width, columns, threads in cases():
        weights = rng.standard_normal((rows, width), dtype=np.float32)
        values = rng.standard_normal((columns, width), dtype=np.float32) * np.float32(3)
        got = product(multiply, kind, weights, values, threads=threads, at_end=at_end)
        # 32-bit sums of `width / 32` blocks, each exact.
        np.testing.assert_allclose(got, expected(kind, weights, values), rtol=0, atol=2e-6 * width)


@pytest.mark.parametrize("kind", [Q5_0, Q8_0])
def test_the_largest_values_do_not_overflow(multiply: Any, kind: int) -> None:
    """All weights and values at either end of their range: sums of 32 x 128 x 127 and of 32 x 16 x 127."""
    for weight, value in ((1.0, 1.0), (-1.0, 1.0), (1.0, -1.0), (-1.0, -1.0)):
        weights, values = np.full((16, 64), weight, np.float32), np.full((8, 64), value, np.float32)
        got = product(multiply, kind, weights, values, threads=1, at_end=True)
        np.testing.assert_allclose(got, expected(kind, weights, values), rtol=1e-5)


def test_what_is_not_done_here_goes_on_to_ggml(multiply: Any) -> None:
    """17 rows are no whole tile, which ggml's own kernel takes; one column it leaves to another."""
    rng = np.random.default_rng(1)
    weights, values = (rng.standard_normal((size, 64), dtype=np.float32) for size in (17, 4))
    got = product(multiply, Q8_0, weights, values, threads=1, at_end=False)
    np.testing.assert_allclose(got, expected(Q8_0, weights, values), rtol=0, atol=1e-4)
    with pytest.raises(AssertionError):
        product(multiply, Q8_0, weights, values[:1], threads=1, at_end=False)
