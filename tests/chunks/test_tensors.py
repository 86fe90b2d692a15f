"""The table of tensors is found in real GGUF files, and a broken file is simply one without tensors."""

from __future__ import annotations

import io
import random
import struct
from pathlib import Path

import gguf
import numpy as np
import pytest

from agent.chunks.cutting import cut
from agent.chunks.tensors import boundaries, tensor_starts

KiB = 1024


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With values of all types, a large tensor, and small ones around it."""
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint8("a.u8", 1)
    writer.add_int16("a.i16", -1)
    writer.add_float64("a.f64", 0.5)
    writer.add_uint64("a.u64", 2**40)
    writer.add_bool("a.bool", True)
    writer.add_string("tokenizer.chat_template", "{{ messages }}")
    writer.add_array("tokenizer.ggml.tokens", ["a", "bc", ""] * 500)
    writer.add_array("tokenizer.ggml.scores", [0.5] * 1500)
    writer.add_custom_alignment(64)
    draw = np.random.default_rng(0)
    for name, count in (("a", 16), ("b", 300_000), ("c", 8), ("d", 8), ("e", 200_000), ("f", 4)):
        writer.add_tensor(name, draw.standard_normal(count, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_the_tensors_are_where_the_reference_finds_them(model: Path) -> None:
    expected = [tensor.data_offset for tensor in gguf.GGUFReader(model).tensors]
    for buffering in (0, -1):
        with model.open("rb", buffering=buffering) as file:
            assert tensor_starts(file) == expected
            assert not file.closed


def test_large_tensors_are_chunks_of_their_own(model: Path) -> None:
    starts = {tensor.name: tensor.data_offset for tensor in gguf.GGUFReader(model).tensors}
    ends = {chunk.offset for chunk in cut(model)}
    assert {starts[name] for name in "bce"} <= ends  # b begins, b ends, e begins
    assert starts["d"] not in ends  # c and d are small, and stay together


def test_a_changed_tensor_takes_nothing_of_its_neighbors_along(model: Path, tmp_path: Path) -> None:
    tensor = gguf.GGUFReader(model).tensors[1]
    data = bytearray(model.read_bytes())
    data[tensor.data_offset : tensor.data_offset + tensor.n_bytes] = bytes(
        byte ^ 255 for byte in data[tensor.data_offset : tensor.data_offset + tensor.n_bytes]
    )
    changed = tmp_path / "changed.gguf"
    changed.write_bytes(data)
    held = {chunk.sha256 for chunk in cut(model)}
    assert sum(chunk.length for chunk in cut(changed) if chunk.sha256 not in held) <= tensor.n_bytes + 64


@pytest.mark.parametrize(
    ("starts", "total", "expected"),
    [
        ([], 100, []),
        ([50], 100, [50]),
        ([50], 51, [50]),
        ([5], 9, []),
        ([0, 100, 200], 300, [100, 200]),
        ([20, 22, 24, 60], 62, [20, 24, 60]),  # small ones between large ones stay together
        ([2, 4, 6], 8, []),
        ([50, 200], 100, [50]),  # one that lies
    ],
)
def test_runs_of_small_tensors_stay_together(starts: list[int], total: int, expected: list[int]) -> None:
    assert boundaries(starts, total, 10) == expected


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GGUF",
        b"\x80\x02" + bytes(100),
        b"GGUF" + struct.pack("<IQQ", 1, 0, 0),
        b"GGUF" + struct.pack("<IQQ", 3, 2**63, 0),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 2**63) + struct.pack("<Q", 2**63),
        b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<IIQ", 9, 8, 2**60),
        b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<IIQ", 9, 9, 2**60),
        b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<I", 77),
    ],
)
def test_a_broken_file_has_no_tensors(data: bytes) -> None:
    assert tensor_starts(io.BytesIO(data)) == []


def test_a_damaged_file_is_cut_all_the_same(model: Path, tmp_path: Path) -> None:
    draw, data, path = random.Random(0), model.read_bytes(), tmp_path / "damaged.gguf"
    for _ in range(40):
        damaged = bytearray(data[: draw.choice([len(data), draw.randrange(len(data))])])
        for _ in range(3):
            if damaged:
                damaged[draw.randrange(min(len(damaged), 20_000))] = draw.randrange(256)
        path.write_bytes(damaged)
        assert cut(path).bytes == len(damaged)
