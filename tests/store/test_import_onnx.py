from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.errors import ArtifactError
from tests.store.material import random_bytes, small_store

BERT = {
    "architectures": ["BertModel"],
    "model_type": "bert",
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "max_position_embeddings": 512,
    "vocab_size": 30522,
    "_name_or_path": "sentence-transformers/all-MiniLM-L6-v2",
}
WHISPER = {
    "architectures": ["WhisperForConditionalGeneration"],
    "model_type": "whisper",
    "d_model": 192,
    "encoder_layers": 4,
    "decoder_layers": 2,
    "encoder_attention_heads": 3,
    "encoder_ffn_dim": 768,
    "max_source_positions": 1500,
    "max_target_positions": 448,
    "vocab_size": 2022,
    "num_mel_bins": 80,
}
POOLING = {"word_embedding_dimension": 384, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}


def onnx(folder: Path, config: dict[str, Any] | None, **files: Any) -> Path:
    """A folder with graphs of 1,000 bytes each; a dict becomes JSON."""
    names = {name.replace("__", "/"): data for name, data in files.items()}
    for name, data in {"config.json": config, **names}.items():
        if data is None:
            continue
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(json.dumps(data).encode() if isinstance(data, dict) else data)
    return folder


def graphs(folder: Path, *names: str) -> None:
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(random_bytes(1000, seed))


def test_an_embedding_folder_is_imported_as_it_is(tmp_path: Path) -> None:
    folder = onnx(tmp_path / "all-MiniLM-L6-v2", BERT)
    onnx(
        folder, None, **{"tokenizer.json": {}, "1_Pooling__config.json": POOLING, "README.md": b"x", "vocab.txt": b"x"}
    )
    onnx(folder, None, **{"sentence_bert_config.json": {"max_seq_length": 256}, "pytorch_model.bin": b"x"})
    graphs(folder, "onnx/model_quantized.onnx", "onnx/model.onnx", "onnx/model_fp16.onnx")
    imported = small_store(tmp_path / "models").import_folder(folder)
    manifest = imported.model.manifest
    assert (manifest.name, manifest.version, manifest.task, manifest.format) == (
        "all-MiniLM-L6-v2",
        "1",
        "embed",
        "onnx",
    )
    assert [file.path for file in manifest.files] == [
        "1_Pooling/config.json",
        "config.json",
        "onnx/model_quantized.onnx",
        "sentence_bert_config.json",
        "tokenizer.json",
        "vocab.txt",
    ]
    assert (manifest.context, manifest.embedding_dim, manifest.quantization) == (256, 384, "int8")
    assert manifest.metadata["pooling"] == "mean"
    assert manifest.metadata["graphs"] == {"model": "onnx/model_quantized.onnx"}
    assert manifest.main_file == "onnx/model_quantized.onnx"
    assert manifest.source == "sentence-transformers/all-MiniLM-L6-v2"
    assert manifest.memory_bytes.weights == 1000
    # 256 positions: 4 hidden states and one feed-forward layer, and the attention scores of 12 heads, in float32
    assert manifest.memory_bytes.compute == (256 * (4 * 384 + 1536) + 12 * 256 * 256) * 4
    assert {ignored.path for ignored in imported.ignored} == {
        "README.md",
        "onnx/model.onnx",
        "onnx/model_fp16.onnx",
        "pytorch_model.bin",
    }


def test_a_whisper_folder_is_imported_as_it_is(tmp_path: Path) -> None:
    folder = onnx(tmp_path / "whisper", WHISPER, **{"tokenizer.json": {}, "preprocessor_config.json": {}})
    graphs(
        folder,
        *(f"onnx/{name}{end}.onnx" for name in ("encoder_model", "decoder_model_merged") for end in ("", "_quantized")),
    )
    graphs(folder, "onnx/decoder_model_quantized.onnx")
    manifest = small_store(tmp_path / "models").import_folder(folder, name="commands", version="7").model.manifest
    assert (manifest.name, manifest.version, manifest.task) == ("commands", "7", "transcribe")
    assert manifest.metadata["graphs"] == {
        "encoder_model": "onnx/encoder_model_quantized.onnx",
        "decoder_model_merged": "onnx/decoder_model_merged_quantized.onnx",
    }
    assert [file.path for file in manifest.files if file.path.endswith(".onnx")] == [
        "onnx/decoder_model_merged_quantized.onnx",
        "onnx/encoder_model_quantized.onnx",
    ]
    assert (manifest.context, manifest.embedding_dim) == (448, 0)
    assert manifest.memory_bytes.per_1k_context == 1024 * 2 * 2 * 192 * 4
    assert manifest.metadata["layers"] == 6


def test_graphs_beside_the_config_and_their_external_data_are_found(tmp_path: Path) -> None:
    folder = onnx(tmp_path / "m", BERT)
    graphs(folder, "model.onnx", "model.onnx_data", "model_fp16.onnx", "model_fp16.onnx_data")
    manifest = small_store(tmp_path / "models").import_folder(folder).model.manifest
    assert [file.path for file in manifest.files] == ["config.json", "model.onnx", "model.onnx_data"]
    assert (manifest.quantization, manifest.memory_bytes.weights) == ("fp32", 2000)


@pytest.mark.parametrize(
    ("changes", "context"),
    [
        ({"model_type": "xlm-roberta", "max_position_embeddings": 514}, 512),
        ({"model_type": "mpnet", "max_position_embeddings": 514}, 512),
        ({"max_position_embeddings": 8192}, 8192),
    ],
)
def test_context_from_position_embeddings(tmp_path: Path, changes: dict[str, Any], context: int) -> None:
    folder = onnx(tmp_path / "m", {**BERT, **changes})
    graphs(folder, "onnx/model_quantized.onnx")
    assert small_store(tmp_path / "models").import_folder(folder).model.manifest.context == context


def test_distilbert_names_its_shape_differently(tmp_path: Path) -> None:
    config = {"model_type": "distilbert", "dim": 768, "n_layers": 6, "n_heads": 12, "hidden_dim": 3072, "vocab_size": 9}
    folder = onnx(tmp_path / "m", config)
    graphs(folder, "onnx/model_quantized.onnx")
    manifest = small_store(tmp_path / "models").import_folder(folder).model.manifest
    assert (manifest.embedding_dim, manifest.metadata["layers"], manifest.context) == (768, 6, 512)


@pytest.mark.parametrize(
    ("config", "graph", "says"),
    [
        (BERT, "onnx/other.onnx", "model_quantized.onnx"),
        (WHISPER, "onnx/encoder_model_quantized.onnx", "decoder_model_merged_quantized.onnx"),
        ({**BERT, "architectures": ["Qwen2ForCausalLM"]}, "onnx/model_quantized.onnx", "generates text"),
        ({**BERT, "hidden_size": "384"}, "onnx/model_quantized.onnx", "config.json: hidden_size"),
        ({**BERT, "hidden_size": -1}, "onnx/model_quantized.onnx", "config.json: hidden_size"),
        ({**BERT, "vocab_size": True}, "onnx/model_quantized.onnx", "config.json: vocab_size"),
        ({**BERT, "num_hidden_layers": None}, "onnx/model_quantized.onnx", "config.json: num_hidden_layers"),
        ({**BERT, "max_position_embeddings": 10**12}, "onnx/model_quantized.onnx", "max_position_embeddings"),
        (b"[1]", "onnx/model_quantized.onnx", "config.json is not a JSON object"),
        (b'{"a":' * 100_000, "onnx/model_quantized.onnx", "config.json is not a JSON object"),
        (b" " * (1024 * 1024 + 1), "onnx/model_quantized.onnx", "config.json is larger"),
    ],
)
def test_a_folder_that_cannot_be_run_says_why(tmp_path: Path, config: Any, graph: str, says: str) -> None:
    folder = onnx(tmp_path / "m", config)
    graphs(folder, graph)
    store = small_store(tmp_path / "models")
    with pytest.raises(ArtifactError, match=says):
        store.import_folder(folder)
    assert store.models() == []


def test_a_graph_that_is_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = onnx(tmp_path / "m", BERT)
    (tmp_path / "blob").write_bytes(b"x")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model_quantized.onnx").symlink_to(tmp_path / "blob")
    with pytest.raises(ArtifactError, match="leads out"):
        small_store(tmp_path / "models").import_folder(folder)
