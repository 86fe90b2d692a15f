"""A Hugging Face checkpoint on disk: `config.json` and safetensors shards, read one tensor at a time.

The shards are memory-mapped, so that a checkpoint larger than memory can be converted. Nothing in them is trusted: the
header is bounded, every offset is checked against the file, and a tensor with a NaN or an infinity is an error.

The format: https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import ml_dtypes
import numpy as np
import numpy.typing as npt

from agent.errors import ArtifactError
from convert.config import Config, read_json

HEADER_LIMIT_BYTES: Final = 100_000_000
"""As the safetensors library has it."""
SINGLE: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"
DTYPES: Final[dict[str, npt.DTypeLike]] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
}

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Stored:
    shard: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


class Checkpoint:
    """Tensors by name. Close it, or use it in a `with`."""

    def __init__(self, folder: Path, config: Config, stored: dict[str, _Stored], maps: dict[Path, mmap.mmap]) -> None:
        self.folder = folder
        self.config = config
        self._stored = stored
        self._maps = maps

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        for mapped in self._maps.values():
            mapped.close()

    def __contains__(self, name: object) -> bool:
        return name in self._stored

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._stored))

    @property
    def total_bytes(self) -> int:
        """Bytes of all tensors, as they are stored."""
        return sum(stored.end - stored.start for stored in self._stored.values())

    def shape(self, name: str) -> tuple[int, ...]:
        """Raises `ArtifactError` where the tensor is missing."""
        return self._find(name).shape

    def tensor(self, name: str, shape: Sequence[int] | None = None) -> FloatArray:
        """A copy in float32. Raises `ArtifactError` where it is missing, not finite, or not of the shape `shape`."""
        stored = self._find(name)
        if shape is not None and stored.shape != tuple(shape):
            raise ArtifactError(
                f"{stored.shard.name}: the tensor {name} has the shape {list(stored.shape)}, expected {list(shape)}.",
                hint="config.json and the weights are not of the same model.",
            )
        if stored.dtype not in DTYPES:
            raise ArtifactError(
                f"{stored.shard.name}: the tensor {name} is {stored.dtype}; F32, F16, BF16 and F64 can be converted.",
                hint="Take the unquantized checkpoint.",
            )
        mapped = self._maps[stored.shard]
        dtype = np.dtype(DTYPES[stored.dtype])
        view = np.frombuffer(mapped, dtype, (stored.end - stored.start) // dtype.itemsize, stored.start)
        with np.errstate(over="ignore", invalid="ignore"):
            array = view.astype(np.float32).reshape(stored.shape)
        del view  # or the mapping could not be closed
        _release(mapped, stored)
        if not np.isfinite(array).all():
            raise ArtifactError(
                f"{stored.shard.name}: the tensor {name} holds NaN or infinite values.",
                hint="The checkpoint is broken: download it again, or ask who trained it.",
            )
        return array

    def _find(self, name: str) -> _Stored:
        if name not in self._stored:
            raise ArtifactError(
                f"{self.folder.name} has no tensor {name}.", hint="It is incomplete, or not the model config.json says."
            )
        return self._stored[name]


def open_checkpoint(folder: Path) -> Checkpoint:
    """Open the checkpoint in `folder`.

    Raises `ArtifactError` where `config.json` or a shard is missing or truncated, where the index and the shards
    disagree, and where there are no safetensors.
    """
    if not folder.is_dir():
        raise ArtifactError(
            f"{folder} is not a folder.", hint="Give the folder of a Hugging Face checkpoint, or a hub id."
        )
    config = Config(folder / "config.json")
    shards = _shards(folder)
    for shard in shards:
        _check_hash(shard, _expected_sha256(shard))
    stored: dict[str, _Stored] = {}
    maps: dict[Path, mmap.mmap] = {}
    try:
        for shard, expected in shards.items():
            found, maps[shard] = _open_shard(shard)
            for name in expected or ():
                if name not in found:
                    raise ArtifactError(
                        f"{shard.name} lacks the tensor {name}, which {INDEX} says it has.", hint=_AGAIN
                    )
            for name, tensor in found.items():
                if name in stored:
                    raise ArtifactError(f"The tensor {name} is in {stored[name].shard.name} and in {shard.name}.")
                stored[name] = tensor
    except BaseException:
        for mapped in maps.values():
            mapped.close()
        raise
    return Checkpoint(folder, config, stored, maps)


_AGAIN: Final = "Download the checkpoint again."
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def _expected_sha256(shard: Path) -> str | None:
    """What the file's hash should be, where anything says so: the index, or the hub's cache, whose files it names."""
    index = shard.parent / INDEX
    metadata = read_json(index).get("metadata") if index.is_file() else None
    hashes = metadata.get("sha256") if isinstance(metadata, dict) else None
    if isinstance(hashes, dict) and isinstance(hashes.get(shard.name), str):
        return str(hashes[shard.name]).lower()
    name = shard.resolve().name
    return name if shard.is_symlink() and _SHA256.fullmatch(name) else None


def _check_hash(shard: Path, expected: str | None) -> None:
    if expected is None:
        return
    with shard.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise ArtifactError(
            f"{shard.name} has the SHA-256 {found[:16]}..., expected {expected[:16]}...",
            hint=f"Remove {shard.resolve()} and download it again.",
        )


def _shards(folder: Path) -> dict[Path, list[str] | None]:
    """The files, and what the index says is in each."""
    if (folder / INDEX).is_file():
        index = read_json(folder / INDEX)
        weight_map = index.get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise ArtifactError(f"{INDEX}: weight_map: expected an object that names tensors.", param="weight_map")
        shards: dict[Path, list[str] | None] = {}
        for name, file in weight_map.items():
            if not isinstance(file, str) or Path(file).name != file or not file.endswith(".safetensors"):
                raise ArtifactError(
                    f"{INDEX}: {name!a}: {ascii(file)[:80]} is not the name of a safetensors file beside it."
                )
            names = shards.setdefault(folder / file, [])
            if names is not None:
                names.append(name)
        missing = sorted(shard.name for shard in shards if not shard.is_file())
        if missing:
            raise ArtifactError(
                f"{len(missing)} of {len(shards)} shards are missing from {folder}: {', '.join(missing[:5])}.",
                hint=_AGAIN,
            )
        return dict(sorted(shards.items()))
    if (folder / SINGLE).is_file():
        return {folder / SINGLE: None}
    if any(folder.glob("*.bin")):
        raise ArtifactError(
            f"{folder} has its weights in PyTorch's pickle format, which can run code when it is read.",
            hint="Take a revision of the checkpoint with model.safetensors.",
        )
    raise ArtifactError(f"{folder} has neither {SINGLE} nor {INDEX}.", hint="Is it a Hugging Face checkpoint?")


def _open_shard(path: Path) -> tuple[dict[str, _Stored], mmap.mmap]:
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        header_bytes = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= header_bytes <= min(HEADER_LIMIT_BYTES, size - 8):
            raise ArtifactError(f"{path.name} is not a safetensors file, or was cut off in its header.", hint=_AGAIN)
        try:
            header = json.loads(file.read(header_bytes))
        except (ValueError, RecursionError) as error:
            raise ArtifactError(f"{path.name}: the header is not valid JSON: {error}.", hint=_AGAIN) from None
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        if not isinstance(header, dict):
            raise ArtifactError(f"{path.name}: the header is not an object.", hint=_AGAIN)
        found = {
            name: _entry(path, name, entry, 8 + header_bytes, size)
            for name, entry in header.items()
            if name != "__metadata__"
        }
    except BaseException:
        mapped.close()
        raise
    return found, mapped


_ITEM_BYTES: Final = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}


def _entry(path: Path, name: str, entry: Any, data: int, size: int) -> _Stored:
    try:
        dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        good = isinstance(dtype, str) and all(type(n) is int and n >= 0 for n in (*shape, begin, end)) and begin <= end
    except (KeyError, TypeError, ValueError):
        good = False
    if not good:
        raise ArtifactError(f"{path.name}: the header's entry for {ascii(name)[:80]} makes no sense.", hint=_AGAIN)
    label = ascii(name)[1:-1][:80]
    if data + end > size:
        raise ArtifactError(
            f"{path.name} was cut off: it has {size} bytes, and the tensor {label} ends at {data + end}.", hint=_AGAIN
        )
    values = 1
    for dimension in shape:
        values *= dimension
    if dtype in _ITEM_BYTES and values * _ITEM_BYTES[dtype] != end - begin:
        raise ArtifactError(
            f"{path.name}: the tensor {label} has {end - begin} bytes, not the {values} values of its shape.",
            hint=_AGAIN,
        )
    return _Stored(path, dtype, tuple(shape), data + begin, data + end)


def _release(mapped: mmap.mmap, stored: _Stored) -> None:
    """Let go of the pages that were read: they count as this process's memory until then."""
    if hasattr(mmap, "MADV_DONTNEED"):
        page = mmap.PAGESIZE
        begin = stored.start // page * page
        mapped.madvise(mmap.MADV_DONTNEED, begin, stored.end - begin)
