"""How much of a model a device must fetch that has the version before, by how files are cut into chunks.

    python -m benchmarks.updates.deltas [--shape small] [--quant F16] [--cache DIR]

Four ways to cut: as the product does (agent/chunks/cutting.py: at large tensors, and within where the bytes say so),
where the bytes say so without regard to tensors, at the tensors with equal pieces within, and every 64 KiB. The model
has a published shape and random weights (benchmarks/models/shapes.py); what changes between the versions is done to its
file here. What is fetched is the chunks that the old file does not have, and the index of the new one.
"""

from __future__ import annotations

import argparse
import hashlib
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import gguf
import numpy as np

from agent.chunks.cutting import cut, index_of, pieces_between
from agent.chunks.index import MAX_CHUNK_BYTES, ChunkIndex
from benchmarks.models import shapes
from benchmarks.report import Row, run_rows

PIECE_BYTES: Final = 64 * 1024
TEMPLATE: Final = "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}{% endfor %}"
LONGER_TEMPLATE: Final = TEMPLATE.replace("{% for", "{% if tools %}{{ tools | tojson }}{% endif %}{% for") * 3

Cutter = Callable[[Path], ChunkIndex]


@dataclass(frozen=True)
class Layout:
    """Where things are in a GGUF file: the first tensor's description, the data, and each tensor's (start, bytes)."""

    infos: int
    data: int
    tensors: dict[str, tuple[int, int]]


def layout(path: Path) -> Layout:
    reader = gguf.GGUFReader(path)
    return Layout(
        infos=min(tensor.field.offset for tensor in reader.tensors),
        data=reader.data_offset,
        tensors={tensor.name: (tensor.data_offset, tensor.n_bytes) for tensor in reader.tensors},
    )


def by_content(path: Path) -> ChunkIndex:
    with path.open("rb") as file:
        return index_of(pieces_between(file, []))


def by_tensors(path: Path) -> ChunkIndex:
    """What stands before the data in pieces, and each tensor with its padding in pieces of its own."""
    found = layout(path)
    return _at(path, [0, *sorted(start for start, _ in found.tensors.values())])


def by_size(path: Path) -> ChunkIndex:
    return _at(path, [0])


CUTTERS: Final[dict[str, Cutter]] = {"both": cut, "content": by_content, "tensors": by_tensors, "64 KiB": by_size}


def _at(path: Path, starts: list[int]) -> ChunkIndex:
    def chunks() -> Iterator[memoryview]:
        with path.open("rb") as file:
            for start, stop in zip(starts, [*starts[1:], path.stat().st_size], strict=True):
                for at in range(start, stop, PIECE_BYTES):
                    yield memoryview(file.read(min(PIECE_BYTES, stop - at)))

    return index_of(chunks())


def fetched_share(old: ChunkIndex, new: ChunkIndex) -> float:
    """Of the new file's bytes, with its index."""
    held = {chunk.sha256 for chunk in old}
    missing = {chunk.sha256: chunk.length for chunk in new if chunk.sha256 not in held}
    return (sum(missing.values()) + len(new.encode())) / new.bytes


def with_text(path: Path, out: Path, key_name: str, text: str) -> None:
    """`path` with this value of a key that is a text; the tensors move by the difference."""
    found = layout(path)
    data = path.read_bytes()
    key = key_name.encode() + struct.pack("<I", gguf.GGUFValueType.STRING)
    at = data.index(key, 0, found.infos) + len(key)
    length = struct.unpack_from("<Q", data, at)[0]
    value = text.encode()
    changed = struct.pack("<Q", len(value)) + value
    infos_end = found.infos + _infos_bytes(path)
    head = data[:at] + changed + data[at + 8 + length : infos_end]
    out.write_bytes(head + bytes(-len(head) % gguf.GGUF_DEFAULT_ALIGNMENT) + data[found.data :])


def _infos_bytes(path: Path) -> int:
    """Of the table of tensors: name, dimensions, type and offset of each."""
    tensors = gguf.GGUFReader(path).tensors
    return sum(8 + len(tensor.name.encode()) + 4 + 8 * len(tensor.shape) + 4 + 8 for tensor in tensors)


def with_tensors_changed(path: Path, out: Path, names: list[str]) -> float:
    """`path` with other bytes in these tensors. Returns their share of the file."""
    found, data, draw = layout(path), bytearray(path.read_bytes()), np.random.default_rng(1)
    changed = 0
    for name in names:
        start, count = found.tensors[name]
        data[start : start + count] = draw.bytes(count)
        changed += count
    out.write_bytes(data)
    return changed / len(data)


def quantized(path: Path, out: Path, kind: gguf.GGMLQuantizationType, tuned: Callable[[str], float]) -> None:
    """The F16 model `path` after a fine-tuning that moved the weights of a tensor by `tuned(name)` of their standard
    deviation, then quantized; other metadata is left out."""
    reader, draw = gguf.GGUFReader(path), np.random.default_rng(2)
    writer = gguf.GGUFWriter(out, "qwen2")
    for tensor in reader.tensors:
        weights = tensor.data.astype(np.float32)
        if moved := tuned(tensor.name):
            weights += draw.standard_normal(weights.shape, dtype=np.float32) * weights.std() * moved
        if weights.ndim == 1:
            writer.add_tensor(tensor.name, weights)
        else:
            writer.add_tensor(tensor.name, gguf.quantize(weights, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def compare(what: str, old: Path, new: Path, bar: float | None, note: str = "") -> Row:
    shares = {name: fetched_share(cutter(old), cutter(new)) for name, cutter in CUTTERS.items()}
    texts = ", ".join(f"{name} {share:.2%}" for name, share in shares.items())
    return Row(
        what=what,
        bar=f"<= {bar:.0%}" if bar else "none",
        measured=f"{texts}{note}",
        passed=bar is None or shares["both"] <= bar,
        numbers={"shares": shares},
    )


class Deltas:
    """`base` is the model; new versions of it are made in `folder`."""

    def __init__(self, base: Path, folder: Path) -> None:
        self._base = base
        self._folder = folder
        self._tensors = layout(base).tensors

    def metadata(self) -> Iterator[Row]:
        new = self._folder / "new.gguf"
        for what, key, text in (
            ("a changed chat template", "tokenizer.chat_template", LONGER_TEMPLATE),
            ("a longer name, before the vocabulary", "general.name", "A model with quite another name than before"),
        ):
            with_text(self._base, new, key, text)
            moved = {start - self._tensors[name][0] for name, (start, _) in layout(new).tensors.items()}
            assert len(moved) == 1  # the file is a whole one
            yield compare(what, self._base, new, 0.02, f"; the tensors moved by {moved.pop()} bytes")

    def tensors(self) -> Iterator[Row]:
        draw, total = np.random.default_rng(3), self._base.stat().st_size
        inner = [name for name in self._tensors if name.startswith("blk.")]
        chosen: list[str] = []
        for name in draw.permutation(inner):
            if sum(self._tensors[one][1] for one in (*chosen, name)) <= 0.1 * total:
                chosen.append(str(name))
        new = self._folder / "tensors.gguf"
        share = with_tensors_changed(self._base, new, chosen)
        note = f"; {len(chosen)} tensors, {share:.1%} of the bytes"
        yield compare("10% of the bytes changed, in whole tensors", self._base, new, 0.15, note)
        few = [str(name) for name in draw.permutation(inner)[: len(self._tensors) // 10]]
        share = with_tensors_changed(self._base, new, few)
        note = f"; {len(few)} tensors, {share:.1%} of the bytes"
        yield compare("10% of the tensors changed", self._base, new, 0.15 if share <= 0.1 else None, note)

    def fine_tune(self) -> Iterator[Row]:
        old, new = self._folder / "q-old.gguf", self._folder / "q-new.gguf"
        merged = ("attn_q.weight", "attn_v.weight")
        for kind in (gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.Q4_0):
            quantized(self._base, old, kind, lambda name: 0.0)
            for what, tuned in (
                ("all weights, by 1%", lambda name: 0.01),
                ("all weights, by 0.01%", lambda name: 0.0001),
                ("a LoRA in q and v, merged", lambda name: 0.01 if name.endswith(merged) else 0.0),
            ):
                quantized(self._base, new, kind, tuned)
                yield compare(f"{kind.name}, fine-tuned: {what}", old, new, None)

    def cost(self) -> Iterator[Row]:
        for name, cutter in CUTTERS.items():
            began = time.monotonic()
            index = cutter(self._base)
            took_s = time.monotonic() - began
            lengths = index.lengths
            yield Row(
                what=f"cutting {index.bytes / 1e6:.0f} MB: {name}",
                bar="none",
                measured=f"{index.bytes / took_s / 1e6:.0f} MB/s with both hashes, {len(index)} chunks, "
                f"mean {sum(lengths) / len(lengths) / 1024:.1f} KiB, index {len(index.encode()) / index.bytes:.3%}",
                passed=max(lengths) <= MAX_CHUNK_BYTES,
                numbers={"seconds": took_s},
            )
        began = time.monotonic()
        with self._base.open("rb") as file:
            hashlib.file_digest(file, "sha256")
        rate = self._base.stat().st_size / (time.monotonic() - began) / 1e6
        yield Row(what="SHA-256 alone", bar="none", measured=f"{rate:.0f} MB/s", passed=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shape", choices=sorted(shapes.SHAPES), default="small")
    parser.add_argument("--quant", choices=shapes.QUANTS, default="F16")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "edge-agent-shapes")
    given = parser.parse_args()
    given.cache.mkdir(parents=True, exist_ok=True)
    base = shapes.ensure(given.shape, given.quant, given.cache)
    with tempfile.TemporaryDirectory(dir=given.cache) as folder:
        deltas = Deltas(base, Path(folder))
        groups: dict[str, Callable[[], Iterator[Row]]] = {
            "metadata": deltas.metadata,
            "tensors": deltas.tensors,
            "cost": deltas.cost,
        }
        if given.quant == "F16":
            groups["fine-tune"] = deltas.fine_tune
        facts: dict[str, Any] = {"model": base.name, "bytes": base.stat().st_size}
        return 0 if run_rows(groups, facts) else 1


if __name__ == "__main__":
    sys.exit(main())
