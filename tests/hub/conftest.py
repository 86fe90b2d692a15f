"""A hub of our own with small models that are real: a GGUF whole and split, a Whisper, an encoder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engines.onnx.test_embedding import write_folder
from tests.engines.onnx.whisper.merged_graph import write_import
from tests.hub.hub_server import Hub, running

BERT = {
    "model_type": "bert",
    "hidden_size": 4,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "intermediate_size": 8,
    "vocab_size": 9,
    "max_position_embeddings": 8,
    "pad_token_id": 0,
}


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def whisper_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return files_of(write_import(tmp_path_factory.mktemp("whisper")))


@pytest.fixture(scope="session")
def encoder_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """As sentence-transformers publishes it: one INT8 graph for each kind of CPU."""
    pooling = {"word_embedding_dimension": 4, "pooling_mode_mean_tokens": True}
    settings: dict[str, Any] = {"config.json": BERT, "1_Pooling/config.json": pooling}
    folder = write_folder(tmp_path_factory.mktemp("encoder"), graph="onnx/model.onnx", **settings)
    files = files_of(folder)
    for end in ("qint8_arm64", "qint8_avx512", "qint8_avx512_vnni", "quint8_avx2"):
        files[f"onnx/model_{end}.onnx"] = files["onnx/model.onnx"]
    files["modules.json"] = json.dumps([]).encode()
    return files


@pytest.fixture
def hub(tiny_model: Path, whisper_files: dict[str, bytes], encoder_files: dict[str, bytes]) -> Iterator[Hub]:
    tiny = tiny_model.read_bytes()
    page = {"README.md": b"# a model", ".gitattributes": b""}
    made = Hub(
        repositories={
            "org/tiny-GGUF": {**page, "tiny-f32.gguf": tiny, "tiny-q9.txt": b"no model"},
            "org/tiny": {**page, "config.json": b"{}", "model.safetensors": b"x" * 20_000},
            "onnx-community/whisper-small-random": {**page, **whisper_files, "onnx/decoder_model.onnx": b"x" * 50_000},
            "org/encoder": {**page, **encoder_files, "pytorch_model.bin": b"x" * 50_000},
        },
        cards={"org/tiny-GGUF": {"license": "apache-2.0"}, "org/encoder": {"license": "other", "license_name": "own"}},
    )
    with running(made):
        yield made
