"""What an embedding artifact holds, and that the same checkpoint always makes the same one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from agent.engines.onnx.embedding import Embedder
from agent.engines.onnx.session import SessionOptions
from agent.store.manifest import read_manifest
from convert.cli import main
from tests.convert.embed.small_encoders import CASES, TEXTS, tensors_of, write_encoder

ONE = SessionOptions(threads=1)
BERT = CASES["bert"]
OPTIONS = ("--threads", "1", "--accept-quality", "--precision", "fp32")


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_manifest_says_what_the_model_is(converted: Callable[[str, str], Path]) -> None:
    folder = converted("bert-heads", "int8")
    manifest = read_manifest(folder / "manifest.json")
    assert (manifest.task, manifest.format, manifest.main_file) == ("embed", "onnx", "model.onnx")
    assert (manifest.context, manifest.embedding_dim, manifest.quantization) == (180, 6, "int8")
    assert {file.path for file in manifest.files} >= {"tokenizer.json", "modules.json", "1_Pooling/config.json"}
    assert manifest.metadata["pooling"] == "cls+max+weightedmean"
    assert manifest.metadata["normalized"] is False
    assert manifest.memory_bytes.weights == (folder / "model.onnx").stat().st_size
    quality = manifest.quality
    assert quality["measured"] is True
    assert quality["against"] == "fp32"
    assert quality["sentences"] == 200
    assert 0.9 < quality["worst_cosine"] < quality["mean_cosine"] < 1
    assert set(quality["gates"]) == {"mean_cosine", "worst_cosine", "top1_agreement"}


@pytest.mark.parametrize("precision", ["fp32", "int8", "fp16"])
def test_the_same_checkpoint_makes_the_same_bytes(precision: str, tmp_path: Path) -> None:
    source = write_encoder(tmp_path / "m", CASES["mpnet"])
    options = ["--accept-quality", "--threads", "1", "--precision", precision]
    for name in ("a", "b"):
        assert main(["embed", str(source), "--out", str(tmp_path / name), *options]) == 0
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")


def test_prompts_and_license_are_kept(tmp_path: Path) -> None:
    settings = {"prompts": {"query": "query: ", "document": ""}, "default_prompt_name": "query"}
    files = {"config_sentence_transformers.json": settings, "LICENSE": "Apache License"}
    source = write_encoder(tmp_path / "m", BERT, files=files)
    assert main(["embed", str(source), "--out", str(tmp_path / "o"), "--license", "apache-2.0", *OPTIONS]) == 0
    manifest = read_manifest(tmp_path / "o" / "manifest.json")
    assert manifest.metadata["prompts"] == {"query": "query: ", "document": ""}
    assert manifest.metadata["default_prompt"] == "query"
    assert manifest.license == "apache-2.0"
    embedder = Embedder(tmp_path / "o", ONE)
    assert (embedder.prompt(), embedder.prompt("document")) == ("query: ", "")


def test_names_of_a_head_and_of_old_norms_change_nothing(tmp_path: Path) -> None:
    old = {
        "bert."
        + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in tensors_of(BERT).items()
    }
    old["cls.predictions.bias"] = np.zeros(36, np.float32)
    for name, tensors in (("new", None), ("old", old)):
        source = write_encoder(tmp_path / name, BERT, tensors=tensors)
        assert main(["embed", str(source), "--out", str(tmp_path / f"{name}-out"), *OPTIONS]) == 0
    new, same = (Embedder(tmp_path / name, ONE).embed(TEXTS) for name in ("new-out", "old-out"))
    np.testing.assert_array_equal(new, same)


def test_without_modules_the_mean_is_taken_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {"modules.json": None, "1_Pooling/config.json": None, "sentence_bert_config.json": None}
    source = write_encoder(tmp_path / "m", BERT, files=files)
    assert main(["embed", str(source), "--out", str(tmp_path / "o"), *OPTIONS]) == 0
    assert "does not say how to pool: taking the mean" in capsys.readouterr().err
    manifest = read_manifest(tmp_path / "o" / "manifest.json")
    assert (manifest.metadata["pooling"], manifest.metadata["pooling_assumed"]) == ("mean", True)
    assert manifest.context == 200


def test_several_precisions_in_one_folder_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_encoder(tmp_path / "m", BERT)
    options = ["--precision", "int8,fp32", "--out", str(tmp_path), "--json", "--accept-quality", "--threads", "1"]
    assert main(["embed", str(source), *options]) == 0
    made = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in made] == ["m-fp32", "m-int8"]
    assert made[0]["quality"]["worst_cosine"] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "m-fp32", "m-int8"]


def test_quality_below_the_gate_is_refused_unless_accepted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensors = tensors_of(BERT)
    for layer in ("encoder.layer.0", "encoder.layer.1"):
        # A unit that never fires has a large weight everywhere: no harm, but 8 bits have no room for the others.
        tensors[f"{layer}.intermediate.dense.weight"][0] = 0
        tensors[f"{layer}.intermediate.dense.bias"][0] = -50
        tensors[f"{layer}.output.dense.weight"][:, 0] = 100
    source = write_encoder(tmp_path / "m", BERT, tensors=tensors)
    text = tmp_path / "text.txt"
    text.write_text("\n".join(f"w{i} w{i + 1} w{(3 * i) % 20}" for i in range(30)))
    options = ["--precision", "int8", "--text", str(text), "--out", str(tmp_path / "o"), "--threads", "1"]
    assert main(["embed", str(source), *options]) == 1
    error = capsys.readouterr().err
    assert "mean_cosine" in error
    assert "--accept-quality keeps it all the same" in error
    assert not (tmp_path / "o").exists()
    assert main(["embed", str(source), *options, "--accept-quality"]) == 0
    quality = read_manifest(tmp_path / "o" / "manifest.json").quality
    assert (quality["passed"], quality["accepted"], quality["text"]) == (False, True, "text.txt")
