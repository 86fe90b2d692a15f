"""Checkpoints, whole and broken."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.errors import ArtifactError
from convert.checkpoint import open_checkpoint
from tests.convert.hf_folder import BFLOAT16, write_checkpoint, write_safetensors

CONFIG = {"model_type": "toy", "d_model": 4, "scale": 0.5, "tied": True}


def tensors() -> dict[str, np.ndarray[Any, Any]]:
    draw = np.random.default_rng(0)
    return {
        "a.weight": draw.standard_normal((3, 4)).astype(np.float32),
        "b.weight": draw.standard_normal((2, 2)).astype(np.float16),
        "c.weight": draw.standard_normal((5,)).astype(BFLOAT16),
        "d.weight": draw.standard_normal((2,)).astype(np.float64),
    }


@pytest.mark.parametrize("shards", [1, 3])
def test_every_float_type_is_read_as_float32(tmp_path: Path, shards: int) -> None:
    written = tensors()
    with open_checkpoint(write_checkpoint(tmp_path / "m", CONFIG, written, shards=shards)) as checkpoint:
        assert checkpoint.names() == tuple(sorted(written))
        assert checkpoint.total_bytes == sum(array.nbytes for array in written.values())
        for name, array in written.items():
            read = checkpoint.tensor(name, array.shape)
            assert read.dtype == np.float32
            assert np.array_equal(read, array.astype(np.float32))
            assert np.array_equal(checkpoint.tensor(name), read)  # once more, after the pages were let go


def test_the_configuration_is_read_with_types(tmp_path: Path) -> None:
    with open_checkpoint(write_checkpoint(tmp_path / "m", CONFIG, tensors())) as checkpoint:
        config = checkpoint.config
        assert (config.integer("d_model"), config.number("scale"), config.flag("tied")) == (4, 0.5, True)
        assert config.integer("absent", 7) == 7
        with pytest.raises(ArtifactError, match=r"config\.json has no vocab_size"):
            config.integer("vocab_size")
        with pytest.raises(ArtifactError, match=r"config\.json: model_type: expected an integer from 1 .*'toy'"):
            config.integer("model_type")
        with pytest.raises(ArtifactError, match=r"config\.json: d_model: expected a string, got 4"):
            config.text("d_model")


def shard(folder: Path) -> Path:
    return folder / "model-00002-of-00003.safetensors"


def index(folder: Path) -> Path:
    return folder / "model.safetensors.index.json"


def cut(path: Path, share: float) -> None:
    os.truncate(path, int(path.stat().st_size * share))


def put_nan(folder: Path) -> None:
    shard(folder).unlink()
    write_safetensors(shard(folder), {"b.weight": np.array([[1, np.nan], [0, 0]], np.float32)})


def edit_index(folder: Path, **changes: Any) -> None:
    index(folder).write_text(json.dumps({**json.loads(index(folder).read_text()), **changes}))


def claim_hash(folder: Path) -> None:
    edit_index(folder, metadata={"sha256": {shard(folder).name: "0" * 64}})


BROKEN = {
    "no config": (lambda f: (f / "config.json").unlink(), r"config\.json is missing"),
    "config is not JSON": (lambda f: (f / "config.json").write_text("{"), r"config\.json is not valid JSON"),
    "config is a list": (lambda f: (f / "config.json").write_text("[]"), r"config\.json is not a JSON object"),
    "a shard is missing": (lambda f: shard(f).unlink(), r"1 of 3 shards are missing .*model-00002-of-00003"),
    "a shard is cut off": (lambda f: cut(shard(f), 0.95), r"model-00002-of-00003\.safetensors was cut off"),
    "a shard is cut off in its header": (lambda f: cut(shard(f), 0.2), r"cut off in its header"),
    "a shard is empty": (lambda f: cut(shard(f), 0), r"not a safetensors file"),
    "a shard is something else": (lambda f: shard(f).write_bytes(b"GGUF" * 64), r"not a safetensors file"),
    "no weights": (lambda f: [p.unlink() for p in f.glob("model*")], r"neither model\.safetensors nor"),
    "pickled weights": (
        lambda f: [*[p.unlink() for p in f.glob("model*")], (f / "pytorch_model.bin").write_bytes(b"x")],
        r"pickle format",
    ),
    "the index names a path": (lambda f: edit_index(f, weight_map={"a": "../x.safetensors"}), r"not the name of"),
    "the index has no map": (lambda f: edit_index(f, weight_map=[]), r"weight_map: expected an object"),
    "the index promises more": (
        lambda f: edit_index(f, weight_map={**json.loads(index(f).read_text())["weight_map"], "e": shard(f).name}),
        r"lacks the tensor e",
    ),
    "the hash is wrong": (
        claim_hash,
        r"model-00002-of-00003\.safetensors has the SHA-256 .* expected 0000000000000000",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_checkpoint_is_refused_when_it_is_opened(tmp_path: Path, case: str) -> None:
    breaks, message = BROKEN[case]
    folder = write_checkpoint(tmp_path / "m", CONFIG, tensors(), shards=3)
    breaks(folder)
    with pytest.raises(ArtifactError, match=message):
        open_checkpoint(folder)


def test_a_good_hash_in_the_index_passes(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m", CONFIG, tensors(), shards=3)
    digest = hashlib.sha256(shard(folder).read_bytes()).hexdigest()
    edit_index(folder, metadata={"sha256": {shard(folder).name: digest}})
    open_checkpoint(folder).close()


def test_a_file_in_the_hubs_cache_is_checked_against_its_name(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m", CONFIG, tensors())
    blob = tmp_path / hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    (folder / "model.safetensors").rename(blob)
    (folder / "model.safetensors").symlink_to(blob)
    open_checkpoint(folder).close()
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.write_bytes(data)
    with pytest.raises(ArtifactError, match="SHA-256"):
        open_checkpoint(folder)


def test_not_finite_missing_and_misshapen_tensors_are_refused_when_they_are_read(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m", CONFIG, tensors(), shards=3)
    put_nan(folder)
    with open_checkpoint(folder) as checkpoint:
        with pytest.raises(ArtifactError, match=r"b\.weight holds NaN"):
            checkpoint.tensor("b.weight")
        with pytest.raises(ArtifactError, match=r"a\.weight has the shape \[3, 4\], expected \[4, 3\]"):
            checkpoint.tensor("a.weight", (4, 3))
        with pytest.raises(ArtifactError, match=r"no tensor z\.weight"):
            checkpoint.tensor("z.weight")


def test_integers_are_no_weights(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m", CONFIG, {"ids": np.arange(3, dtype=np.int64)})
    with open_checkpoint(folder) as checkpoint, pytest.raises(ArtifactError, match="is I64"):
        checkpoint.tensor("ids")


ENTRIES: dict[str, Any] = {
    "no offsets": {"dtype": "F32", "shape": [1]},
    "negative": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]},
    "backwards": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]},
    "too few bytes": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]},
    "a shape of text": {"dtype": "F32", "shape": ["1"], "data_offsets": [0, 4]},
    "beyond the end": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
    "a list": [],
}


@pytest.mark.parametrize("case", ENTRIES)
def test_a_hostile_header_is_refused(tmp_path: Path, case: str) -> None:
    folder = write_checkpoint(tmp_path / "m", CONFIG, {})
    header = json.dumps({"x": ENTRIES[case]}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(ArtifactError, match=r"makes no sense|was cut off|not the 2 values"):
        open_checkpoint(folder)
