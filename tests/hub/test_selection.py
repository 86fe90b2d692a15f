"""Which of a repository's models is taken on which board, and what it is said to need there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.errors import ArtifactError
from agent.hardware.profile import load_profile, profile_folder
from agent.hardware.sections import Llama
from agent.hub.gguf_models import gguf_models
from agent.hub.repository import RemoteFile, Repository
from agent.hub.room import Room, gguf_need, known_shape
from agent.hub.selection import best, select
from agent.hub.source import Source, parse_source

MB = 1_000_000
LLAMA: Llama = load_profile(profile_folder() / "pi-5.toml").llama
SIZES = {"Q2_K": 339, "Q4_0": 429, "Q4_K_M": 491, "Q5_K_M": 522, "Q8_0": 676, "F16": 1270}
"""Of Qwen2.5-0.5B-Instruct, in MB."""


def room(memory_mb: int, *, disk_mb: int = 100_000, speed: float = 0.0) -> Room:
    return Room(memory_bytes=memory_mb * MB, disk_bytes=disk_mb * MB, llama=LLAMA, decode_gb_per_s=speed)


def remote(path: str, size: int = 100) -> RemoteFile:
    return RemoteFile(path=path, bytes=size, sha256="0" * 64)


def repository(files: list[RemoteFile], name: str = "Qwen/Qwen2.5-0.5B-Instruct-GGUF") -> Repository:
    return Repository(name=name, revision="c0ffee", license="mit", endpoint="http://hub", files=tuple(files))


QWEN = [remote(f"qwen2.5-0.5b-instruct-{name.lower()}.gguf", size * MB) for name, size in SIZES.items()]


@pytest.mark.parametrize(
    ("here", "expected", "because"),
    [
        (room(8000), "Q4_K_M", "it fits, and is the usual balance of size and quality"),
        (room(8000, speed=100.0), "Q8_0", "the largest that fits and is fluent here (about 148 tokens/s)"),
        (room(8000, speed=6.0), "Q5_K_M", "the largest that fits and is fluent here (about 11 tokens/s)"),
        (room(8000, speed=3.2), "Q4_K_M", "it fits, and is the usual balance of size and quality"),
        (room(550), "Q4_0", "the largest that fits below Q4_K_M"),
        (room(8000, disk_mb=400), "Q2_K", "the largest that fits below Q4_K_M"),
        (room(100), "Q2_K", "the smallest there is"),
    ],
)
def test_the_best_that_fits_is_chosen_where_nobody_says_which(here: Room, expected: str, because: str) -> None:
    models = gguf_models(QWEN)
    needs = [gguf_need(known_shape("Qwen2.5-0.5B-Instruct-GGUF"), model.bytes, here) for model in models]
    at, why = best(models, needs, here)
    assert (models[at].quantization, why) == (expected, because)


def test_a_known_shape_makes_the_need_exact() -> None:
    here = room(8000)
    known = gguf_need(known_shape("Qwen2.5-0.5B-Instruct-GGUF"), 491 * MB, here)
    assert known.exact
    assert known.context_tokens == LLAMA.context_tokens
    assert 491 * MB < known.least_bytes < known.bytes < 700 * MB
    unknown = gguf_need(known_shape("Qwen2.5-0.5Billion"), 491 * MB, here)
    assert not unknown.exact
    assert 491 * MB < unknown.least_bytes < known.least_bytes


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("Qwen2.5-0.5B-Instruct-GGUF", "Qwen2.5-0.5B"),
        ("qwen2.5-7b-instruct-gguf", "Qwen2.5-7B"),
        ("SmolLM2-135M-Instruct-GGUF", "SmolLM2-135M"),
        ("Qwen2.5-Coder-7B-Instruct-GGUF", None),
        ("Qwen2.5-72B-Instruct-GGUF", None),
        ("My-Qwen2.5-7B", None),
    ],
)
def test_shapes_are_known_by_the_beginning_of_a_name(name: str, shape: str | None) -> None:
    found = known_shape(name)
    assert (found.name if found else None) == shape


def no_reading(file: RemoteFile) -> bytes:
    raise AssertionError(f"{file.path} was read")


def test_a_chosen_gguf_names_what_else_there_is() -> None:
    source = parse_source("hf:Qwen/Qwen2.5-0.5B-Instruct-GGUF:q8_0")
    found = select(source, repository(QWEN), no_reading, machine="", features=(), room=room(8000))
    assert (found.name, found.what, found.because) == ("qwen2.5-0.5b-instruct-q8_0", "Q8_0", "")
    assert [(one.file.path, one.path) for one in found.wanted] == [("qwen2.5-0.5b-instruct-q8_0.gguf", "model.gguf")]
    assert [label for label, _, _ in found.alternatives] == ["F16", "Q8_0", "Q5_K_M", "Q4_K_M", "Q4_0", "Q2_K"]


MINILM = {
    "config.json": {
        "model_type": "bert",
        "hidden_size": 384,
        "num_hidden_layers": 6,
        "num_attention_heads": 12,
        "intermediate_size": 1536,
        "vocab_size": 30522,
        "max_position_embeddings": 512,
    },
    "1_Pooling/config.json": {"word_embedding_dimension": 384, "pooling_mode_mean_tokens": True},
    "sentence_bert_config.json": {"max_seq_length": 256},
    "modules.json": [],
    "tokenizer.json": {},
}
GRAPHS = {
    "onnx/model.onnx": 90 * MB,
    "onnx/model_O4.onnx": 45 * MB,
    "onnx/model_qint8_arm64.onnx": 23 * MB,
    "onnx/model_qint8_avx512.onnx": 23 * MB + 1,
    "onnx/model_qint8_avx512_vnni.onnx": 23 * MB + 2,
    "onnx/model_quint8_avx2.onnx": 23 * MB + 3,
}


def chosen_onnx(
    texts: dict[str, Any], graphs: dict[str, int], machine: str, features: tuple[str, ...], name: str = "o/all-MiniLM"
) -> Any:
    data = {path: json.dumps(content).encode() for path, content in texts.items()}
    files = [remote(path, len(content)) for path, content in data.items()]
    files += [remote(path, size) for path, size in graphs.items()]
    files += [
        remote("README.md"),
        remote("pytorch_model.bin", 90 * MB),
        remote("train_script.py"),
        remote("../evil.json"),
    ]
    source = Source(repository=name)
    return select(
        source,
        repository(files, name),
        lambda file: data[file.path],
        machine=machine,
        features=features,
        room=room(8000),
    )


@pytest.mark.parametrize(
    ("machine", "features", "graph"),
    [
        ("aarch64", ("fp", "asimd"), "onnx/model_qint8_arm64.onnx"),
        ("arm64", (), "onnx/model_qint8_arm64.onnx"),
        ("x86_64", ("avx2", "avx512f", "avx512_vnni"), "onnx/model_qint8_avx512_vnni.onnx"),
        ("x86_64", ("avx2", "avx512f"), "onnx/model_qint8_avx512.onnx"),
        ("x86_64", ("avx2",), "onnx/model_quint8_avx2.onnx"),
        ("x86_64", ("sse4_2",), "onnx/model.onnx"),
        ("armv7l", ("neon",), "onnx/model.onnx"),
    ],
)
def test_an_encoder_s_graph_is_the_one_made_for_this_cpu(machine: str, features: tuple[str, ...], graph: str) -> None:
    found = chosen_onnx(MINILM, GRAPHS, machine, features)
    local = {one.file.path: one.path for one in found.wanted}
    assert {path for path in local if path.endswith(".onnx")} == {graph}
    assert local[graph] == (graph if graph == "onnx/model.onnx" else "onnx/model_quantized.onnx")
    assert local.keys() - {graph} == MINILM.keys()
    assert found.draft.task == "embed"
    assert found.draft.quantization == ("fp32" if graph == "onnx/model.onnx" else "int8")
    assert found.draft.memory_bytes.weights == GRAPHS[graph]
    assert (found.draft.context, found.draft.metadata["pooling"]) == (256, "mean")


WHISPER = {
    "config.json": {
        "model_type": "whisper",
        "d_model": 512,
        "encoder_layers": 6,
        "encoder_attention_heads": 8,
        "encoder_ffn_dim": 2048,
        "decoder_layers": 6,
        "max_source_positions": 1500,
        "max_target_positions": 448,
        "vocab_size": 51865,
    },
    "generation_config.json": {},
    "preprocessor_config.json": {},
    "tokenizer.json": {},
}


def whisper_graphs(*suffixes: str) -> dict[str, int]:
    stems = ("encoder_model", "decoder_model", "decoder_model_merged", "decoder_with_past_model")
    return {f"onnx/{stem}{suffix}.onnx": 10 * MB for stem in stems for suffix in suffixes}


@pytest.mark.parametrize(
    ("suffixes", "taken"),
    [
        (("", "_fp16", "_q4", "_int8", "_quantized", "_uint8"), "_quantized"),
        (("", "_fp16", "_int8"), "_int8"),
        (("", "_fp16"), ""),
    ],
)
def test_of_a_whisper_the_merged_decoder_is_taken_int8_first(suffixes: tuple[str, ...], taken: str) -> None:
    found = chosen_onnx(WHISPER, whisper_graphs(*suffixes), "x86_64", ("avx2",), "onnx-community/whisper-base")
    graphs = {one.path for one in found.wanted if one.path.endswith(".onnx")}
    assert graphs == {f"onnx/encoder_model{taken}.onnx", f"onnx/decoder_model_merged{taken}.onnx"}
    assert (found.name, found.draft.task, found.draft.context) == ("whisper-base", "transcribe", 448)
    assert found.need.exact


@pytest.mark.parametrize(
    ("files", "message", "hint"),
    [
        (["model.safetensors", "config.json"], "has neither a GGUF file nor an ONNX graph", "edge-convert gguf o/m"),
        (["README.md"], "has neither a GGUF file nor an ONNX graph", "a repository that holds a model"),
        (["onnx/model.onnx"], "has neither manifest.json nor config.json", ""),
        (["a-F16-00001-of-00002.gguf"], "No GGUF model in o/m is whole", "F16"),
    ],
)
def test_a_repository_without_a_model_says_what_to_do(files: list[str], message: str, hint: str) -> None:
    with pytest.raises(ArtifactError, match=message) as caught:
        select(
            Source(repository="o/m"),
            repository([remote(path) for path in files], "o/m"),
            lambda _: b"{}",
            machine="",
            features=(),
            room=room(100),
        )
    assert hint in caught.value.hint


def test_a_model_that_generates_from_onnx_is_refused_before_it_is_downloaded(tmp_path: Path) -> None:
    texts = {"config.json": {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}}
    with pytest.raises(ArtifactError, match="generates text"):
        chosen_onnx(texts, {"onnx/model.onnx": MB}, "x86_64", ())
