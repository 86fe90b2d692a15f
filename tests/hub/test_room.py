"""What an ONNX model is said to need before it is here is what the engine predicts when it is."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from agent.engines.onnx import embedding_service
from agent.engines.onnx.whisper.memory import predict_memory
from agent.hardware.fit import Shape
from agent.hardware.profile import load_profile, profile_folder
from agent.hub.onnx_models import need_of
from agent.hub.room import Room
from agent.runtime.wire.options import OnnxOptions
from agent.store.manifest import encode_manifest
from agent.store.onnx_source import plan_onnx
from tests.engines.onnx.test_embedding import write_folder
from tests.engines.onnx.whisper.merged_graph import write_import

LLAMA = load_profile(profile_folder() / "pi-5.toml").llama
ROOM = Room(memory_bytes=10**10, disk_bytes=10**10, llama=LLAMA, decode_gb_per_s=0.0)
SHAPE = {"hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 9, "intermediate_size": 8}


def test_of_a_whisper(tmp_path: Path) -> None:
    folder = write_import(tmp_path)
    predicted = predict_memory(folder)
    need = need_of(plan_onnx(folder).draft, json.loads((folder / "config.json").read_text()), ROOM)
    engine = predicted.weights_bytes + predicted.kv_bytes + predicted.compute_bytes + predicted.overhead_bytes
    assert need.bytes == engine


@pytest.mark.parametrize("positions", [8, 64])
def test_of_an_encoder(tmp_path: Path, positions: int) -> None:
    config: dict[str, Any] = {"model_type": "bert", "max_position_embeddings": positions, "pad_token_id": 0, **SHAPE}
    files: dict[str, Any] = {"config.json": config}
    folder = write_folder(tmp_path, **files)
    plan = plan_onnx(folder)
    need = need_of(plan.draft, config, ROOM)
    (folder / "manifest.json").write_bytes(encode_manifest(plan.draft))  # as it will lie in the store
    predicted = embedding_service.predict(folder, OnnxOptions())
    engine = predicted.weights_bytes + predicted.kv_bytes + predicted.compute_bytes + predicted.overhead_bytes
    assert need.bytes == pytest.approx(engine, abs=2)


def test_a_published_shape_has_every_field_of_a_shape() -> None:
    from agent.hub.room import _Published

    assert {field.name for field in dataclasses.fields(_Published)} == {
        *(field.name for field in dataclasses.fields(Shape)),
        "file_bytes",
    }
