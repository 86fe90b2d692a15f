"""Reading and writing importance matrices, and holding them against a model."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from agent.errors import ArtifactError
from convert.quantization.imatrix import Entry, Imatrix, match, read_imatrix

DENSE = Entry(np.arange(8, dtype=np.float32).reshape(1, 8), np.array([4], np.float32))
EXPERTS = Entry(np.arange(12, dtype=np.float32).reshape(3, 4), np.array([2, 0, 5], np.float32))
MATRIX = Imatrix({"blk.0.b.weight": EXPERTS, "blk.0.a.weight": DENSE}, ("some.txt",), 7, 512)


def legacy(entries: list[tuple[bytes, int, list[float]]], *, tail: bytes = b"") -> bytes:
    data = struct.pack("<i", len(entries))
    for name, calls, values in entries:
        data += struct.pack("<i", len(name)) + name + struct.pack("<ii", calls, len(values))
        data += struct.pack(f"<{len(values)}f", *values)
    return data + tail


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    MATRIX.write(path)
    again = read_imatrix(path)
    assert sorted(again.entries) == sorted(MATRIX.entries)
    for name, entry in MATRIX.entries.items():
        assert again.entries[name].sums.tolist() == entry.sums.tolist()
        assert again.entries[name].counts.tolist() == entry.counts.tolist()
    assert (again.datasets, again.chunks, again.chunk_tokens) == (("some.txt",), 7, 512)


def test_other_readers_of_gguf_see_llama_cpp_s_layout(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    MATRIX.write(path)
    reader = gguf.GGUFReader(path)
    assert reader.fields["general.type"].contents() == "imatrix"
    assert reader.fields["imatrix.datasets"].contents() == ["some.txt"]
    assert reader.fields["imatrix.chunk_count"].contents() == 7
    shapes = {str(tensor.name): tensor.shape.tolist() for tensor in reader.tensors}
    assert shapes == {
        "blk.0.a.weight.in_sum2": [8, 1],
        "blk.0.a.weight.counts": [1, 1],
        "blk.0.b.weight.in_sum2": [4, 3],
        "blk.0.b.weight.counts": [1, 3],
    }


def test_weights_are_means_and_one_for_an_expert_nobody_chose() -> None:
    assert EXPERTS.weights().tolist() == pytest.approx([0, 0.5, 1, 1.5, 1, 1, 1, 1, 1.6, 1.8, 2, 2.2])


@pytest.mark.parametrize("tail", [b"", struct.pack("<i", 9), struct.pack("<ii", 9, 4) + b"text"])
def test_the_older_format_is_read_with_and_without_its_tail(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "m.dat"
    path.write_bytes(legacy([(b"blk.0.a.weight", 4, [4.0, 8.0])], tail=tail))
    matrix = read_imatrix(path)
    assert matrix.entries["blk.0.a.weight"].weights().tolist() == [1.0, 2.0]
    assert matrix.chunks == (9 if tail else 0)
    assert matrix.datasets == (("text",) if len(tail) > 4 else ())


def _negative(path: Path) -> None:
    Imatrix({"a": Entry(np.array([[-1.0]], np.float32), np.array([1], np.float32))}).write(path)


def _not_finite(path: Path) -> None:
    Imatrix({"a": Entry(np.array([[np.nan]], np.float32), np.array([1], np.float32))}).write(path)


def _half(path: Path) -> None:
    MATRIX.write(path)
    path.write_bytes(path.read_bytes()[:-100])


def _other_gguf(path: Path) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tensor("a", np.zeros(4, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (_negative, "negative values"),
        (_not_finite, "not finite"),
        (_half, "truncated"),
        (_other_gguf, "GGUF, but not an imatrix"),
        (lambda path: Imatrix({}).write(path), "no entries"),
        (lambda path: path.write_bytes(b""), "not an imatrix"),
        (lambda path: path.write_bytes(b"\x01\0\0\0\xff\xff\xff\x7f"), "not an imatrix"),
        (lambda path: path.write_bytes(legacy([(b"a", 1, [1.0])])[:-2]), "not an imatrix"),
        (lambda path: path.write_bytes(legacy([(b"a", 1, [])])), "not an imatrix"),
        (lambda path: path.write_bytes(struct.pack("<i", -5)), "not an imatrix"),
    ],
)
def test_what_is_no_imatrix_is_refused(tmp_path: Path, make: Callable[[Path], object], says: str) -> None:
    path = tmp_path / "m"
    make(path)
    with pytest.raises(ArtifactError, match=says):
        read_imatrix(path)


def test_entries_are_held_against_tensors() -> None:
    wanted = [("blk.0.a.weight", (8, 3)), ("blk.0.b.weight", (4, 2, 3)), ("blk.1.a.weight", (8, 3))]
    found = match(MATRIX, wanted, where="m.gguf")
    assert (found.used, found.missing) == (2, ("blk.1.a.weight",))


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ([("blk.0.a.weight", (16, 3))], "8 values, and the tensor has 16 columns"),
        ([("blk.9.z.weight", (8, 3))], "no entry for any of 1 tensors, such as blk.9.z.weight"),
    ],
)
def test_a_matrix_of_another_model_is_recognized(wanted: list[tuple[str, tuple[int, ...]]], says: str) -> None:
    with pytest.raises(ArtifactError, match=says):
        match(MATRIX, wanted, where="m.gguf")
