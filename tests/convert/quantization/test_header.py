"""Reading the header of GGUF files, good and hostile."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from agent.errors import ArtifactError
from convert.quantization.header import Skipped, read_header

TEXT, ARRAY, U32 = 8, 9, 4


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def tensor(name: bytes = b"a", shape: tuple[int, ...] = (8,), kind: int = 0, offset: int = 0) -> bytes:
    sizes = struct.pack(f"<{len(shape)}Q", *shape)
    return text(name) + struct.pack("<I", len(shape)) + sizes + struct.pack("<IQ", kind, offset)


def file(
    *parts: bytes, version: int = 3, tensors: int = 0, values: int = 0, data: bytes = bytes(64), pad: bool = True
) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", version, tensors, values) + b"".join(parts)
    return head + (bytes(-len(head) % 32) if pad else b"") + data


def test_it_agrees_with_the_gguf_package(tiny_model: Path) -> None:
    header, reader = read_header(tiny_model), gguf.GGUFReader(tiny_model)
    expected = {str(t.name): (tuple(t.shape.tolist()), t.tensor_type.name, t.data_offset) for t in reader.tensors}
    found = {name: (t.shape, t.type.name.upper(), t.offset) for name, t in header.tensors.items()}
    assert found == expected
    assert header.architecture == "qwen2"
    assert header.layers == reader.fields["qwen2.block_count"].contents()
    assert header.header_bytes == reader.data_offset
    assert isinstance(header.metadata["tokenizer.ggml.tokens"], list | Skipped)


def test_a_split_model_is_read_whole(tmp_path: Path) -> None:
    for number, name in ((1, "a.weight"), (2, "b.weight")):
        writer = gguf.GGUFWriter(tmp_path / f"m-{number:05d}-of-00002.gguf", "llama")
        writer.add_tensor(name, np.zeros((2, 32), np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    header = read_header(tmp_path / "m-00002-of-00002.gguf")
    assert [path.name for path in header.paths] == ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"]
    assert set(header.tensors) == {"a.weight", "b.weight"}
    (tmp_path / "m-00001-of-00002.gguf").unlink()
    with pytest.raises(ArtifactError, match="1 are missing: m-00001-of-00002"):
        read_header(tmp_path / "m-00002-of-00002.gguf")


HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not a GGUF file"),
    "noise": (b"noise" * 100, "not a GGUF file"),
    "magic alone": (b"GGUF", "in the middle of its header"),
    "version 1": (file(version=1), "of version 1"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
    "a trillion tensors": (file(tensors=10**12), "more than it has room for"),
    "a trillion values": (file(values=10**12), "more than it has room for"),
    "endless key": (file(struct.pack("<Q", 1 << 60), values=1), "text of 1152921504606846976 bytes"),
    "key past the end": (file(struct.pack("<Q", 5000), values=1), "in the middle of its header"),
    "unknown value": (file(text(b"k") + struct.pack("<I", 99), values=1), "unknown type 99"),
    "endless array": (file(text(b"k") + struct.pack("<IIQ", ARRAY, U32, 1 << 60), values=1), "middle of its header"),
    "endless texts": (file(text(b"k") + struct.pack("<IIQ", ARRAY, TEXT, 1 << 60), values=1), "1152921504606846976 t"),
    "nested arrays": (file(text(b"k") + struct.pack("<IIQ", ARRAY, ARRAY, 1), values=1), "arrays within arrays"),
    "odd alignment": (file(text(b"general.alignment") + struct.pack("<II", U32, 33), values=1), "alignment 33"),
    "five dimensions": (file(tensor(shape=(1, 1, 1, 1, 1)), tensors=1), "5 dimensions"),
    "unknown tensor type": (file(tensor(kind=77), tensors=1), "type 77"),
    "nameless tensor": (file(tensor(name=b""), tensors=1), "empty or too long"),
    "long name": (file(tensor(name=b"n" * 64), tensors=1), "empty or too long"),
    "half a block": (file(tensor(shape=(40,), kind=8), tensors=1), "q8_0 in rows of 40"),
    "twice": (file(tensor() + tensor(), tensors=2), "the tensor a twice"),
    "past the end": (file(tensor(shape=(1000,)), tensors=1), "truncated: the tensor a ends at byte"),
    "offset past the end": (file(tensor(offset=1 << 62), tensors=1), "truncated"),
    "huge product": (file(tensor(shape=(1 << 62, 1 << 62)), tensors=1), "truncated"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_one_clear_error(tmp_path: Path, name: str) -> None:
    content, says = HOSTILE[name]
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=says) as caught:
        read_header(path)
    assert "model.gguf" in caught.value.message


@pytest.mark.parametrize("cut", [lambda size: size - 1, lambda size: size // 2, lambda size: 5000, lambda size: 30])
def test_a_truncated_model_is_noticed_wherever_it_ends(
    tiny_model: Path, tmp_path: Path, cut: Callable[[int], int]
) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(tiny_model.read_bytes()[: cut(tiny_model.stat().st_size)])
    with pytest.raises(ArtifactError, match="truncated"):
        read_header(path)
