"""`edge-convert whisper`: what it writes, and that it writes nothing when something is wrong."""

from __future__ import annotations

import argparse
import json
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.engines.onnx.whisper.artifact import read_filters, read_spec
from agent.errors import ArtifactError, EdgeAgentError, RequestError
from agent.store.manifest import read_manifest
from convert.commands import whisper
from convert.quality.gates import Gate, QualityError
from convert.whisper import artifact, measure
from tests.convert.whisper.small_whisper import config, generation_config, tokenizer, weights, write_whisper

FILES = {
    "config.json",
    "decoder.onnx",
    "decoder.onnx.data",
    "encoder.onnx",
    "encoder.onnx.data",
    "generation_config.json",
    "manifest.json",
    "mel_filters.npy",
    "tokenizer.json",
    "whisper.json",
}


def run(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    whisper.configure(parser)
    return whisper.run(parser.parse_args([str(argument) for argument in arguments]))


def test_an_artifact_has_all_that_the_engine_reads(tmp_path: Path) -> None:
    source, out = write_whisper(tmp_path / "tiny-hf"), tmp_path / "made"
    assert run(source, "--precision", "int8", "--out", out, "--accept-quality", "--license", "mit") == 0
    assert {path.name for path in out.iterdir()} == FILES
    manifest = read_manifest(out / "manifest.json")
    assert (manifest.name, manifest.version, manifest.task, manifest.format) == ("tiny-hf", "1", "transcribe", "onnx")
    assert (manifest.context, manifest.quantization, manifest.license) == (12, "int8", "mit")
    assert manifest.source == "tiny-hf"
    assert {file.path for file in manifest.files} == FILES - {"manifest.json"}
    assert manifest.quality["measured"] is False
    assert manifest.quality["accepted"] is True
    spec = read_spec(out)
    assert spec.alignment_heads == ((0, 1), (1, 0), (1, 2))
    assert spec.suppress_tokens == (3, 5, 206)
    assert spec.tokens.timestamp_begin == 210
    assert read_filters(out, 16).shape == (16, 201)


@pytest.mark.parametrize(("precision", "item_bytes"), [("fp32", 4), ("fp16", 2), ("int8", 4)])
def test_memory_is_that_of_the_graphs_and_of_one_window(precision: str, item_bytes: int, tmp_path: Path) -> None:
    out = tmp_path / "made"
    run(write_whisper(tmp_path / "hf"), "--precision", precision, "--out", out, "--accept-quality")
    memory = read_manifest(out / "manifest.json").memory_bytes
    graphs = [path for path in out.iterdir() if ".onnx" in path.name]
    assert memory.weights == sum(path.stat().st_size for path in graphs)
    assert memory.per_1k_context == 1024 * 2 * 2 * 48 * item_bytes
    assert memory.compute > 20 * 2 * 2 * 48 * item_bytes


def test_several_precisions_make_several_artifacts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_whisper(tmp_path / "hf")
    assert run(source, "--precision", "int8,fp16", "--out", tmp_path / "out", "--accept-quality", "--json") == 0
    made = json.loads(capsys.readouterr().out)
    assert {one["name"]: one["quantization"] for one in made} == {"hf-int8": "int8", "hf-fp16": "fp16"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"hf-int8", "hf-fp16"}


def test_the_same_command_twice_makes_the_same_bytes(tmp_path: Path) -> None:
    source = write_whisper(tmp_path / "hf")
    made = []
    for name in ("one", "two"):
        run(source, "--precision", "int8", "--out", tmp_path / name, "--accept-quality")
        made.append({path.name: path.read_bytes() for path in sorted((tmp_path / name).iterdir())})
    assert made[0] == made[1]


@pytest.fixture
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 0.3 s of noise."""
    folder = tmp_path_factory.mktemp("recordings")
    with wave.open(str(folder / "noise.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(np.random.default_rng(0).normal(0, 3000, 4800).astype("<i2").tobytes())
    (folder / "transcripts.json").write_text(json.dumps({"noise.wav": "nothing at all"}))
    return folder


def test_each_precision_is_measured_against_float32(tmp_path: Path, recordings: Path) -> None:
    source, out = write_whisper(tmp_path / "hf"), tmp_path / "out"
    run(source, "--precision", "int8,fp32", "--out", out, "--recordings", recordings, "--accept-quality")
    fp32, int8 = (read_manifest(out / f"hf-{name}" / "manifest.json").quality for name in ("fp32", "int8"))
    assert fp32["measured"] is int8["measured"] is True
    assert fp32["against"] == int8["against"] == "fp32"
    assert (fp32["token_agreement"], fp32["wer_increase_points"], fp32["passed"]) == (1.0, 0.0, True)
    assert int8["wer_reference_percent"] == fp32["wer_percent"]


def test_what_misses_its_gate_is_not_made_and_the_reference_does_not_stay(
    tmp_path: Path, recordings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "SPEECH_GATES", (Gate("token_agreement", 1.5, "least", "share of tokens"),))
    source = write_whisper(tmp_path / "hf")
    with pytest.raises(QualityError, match=r"int8: .*token_agreement.* 1\.5 .*--accept-quality"):
        run(source, "--precision", "int8", "--out", tmp_path / "made", "--recordings", recordings)
    assert [path.name for path in tmp_path.iterdir()] == ["hf"]
    run(source, "--precision", "int8", "--out", tmp_path / "made", "--recordings", recordings, "--accept-quality")
    quality = read_manifest(tmp_path / "made" / "manifest.json").quality
    assert (quality["measured"], quality["passed"], quality["accepted"]) == (True, False, True)


def test_with_nothing_to_measure_on_it_says_what_to_give_before_it_starts(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"--recordings.*transcripts\.json.*--accept-quality"):
        run(write_whisper(tmp_path / "hf"), "--out", tmp_path / "made")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--precision", "int4"], "'int4' is unknown"),
        (["--precision", ""], "'' is unknown"),
        (["--name", "a/b"], "name"),
        (["--version", "current"], "version"),
        (["--threads", "-1"], "--threads"),
        (["--recordings", "nowhere"], "nowhere"),
    ],
)
def test_arguments_that_make_no_sense(arguments: list[str], complaint: str, tmp_path: Path) -> None:
    with pytest.raises(EdgeAgentError, match=complaint):
        run(write_whisper(tmp_path / "hf"), "--out", tmp_path / "made", "--accept-quality", *arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["hf"]


def test_an_output_that_exists_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    with pytest.raises(ArtifactError, match="exists already"):
        run(write_whisper(tmp_path / "hf"), "--out", tmp_path / "made", "--accept-quality")
    assert not any((tmp_path / "made").iterdir())


def changed(key: str, value: Any) -> Callable[[Path], Path]:
    """A checkpoint whose config.json has another value, or with None lacks the key; its tensors stay as they were."""

    def write(folder: Path) -> Path:
        settings = config(**{key: value})
        if value is None:
            del settings[key]
        return write_whisper(folder, settings=settings, tensors=weights(config()))

    return write


def tensor(name: str, change: Callable[[Any], Any] | None) -> Callable[[Path], Path]:
    """A checkpoint with one tensor changed, or left out."""

    def write(folder: Path) -> Path:
        tensors = weights(config())
        found = tensors.pop(name)
        if change is not None:
            tensors[name] = change(found)
        return write_whisper(folder, tensors=tensors)

    return write


def beside(name: str, content: Any) -> Callable[[Path], Path]:
    return lambda folder: write_whisper(folder, files={name: content})


def with_nan(array: Any) -> Any:
    array.flat[3] = np.nan
    return array


BIAS = "model.decoder.layers.1.fc2.bias"
BROKEN: dict[str, tuple[Callable[[Path], Path], str]] = {
    "another model": (changed("model_type", "bert"), "model_type is 'bert', not 'whisper'"),
    "no d_model": (changed("d_model", None), "config.json has no d_model"),
    "no heads": (changed("decoder_attention_heads", None), "config.json has no decoder_attention_heads"),
    "no mels": (changed("num_mel_bins", None), "config.json has no num_mel_bins"),
    "heads that do not divide": (changed("decoder_attention_heads", 5), "5 heads do not divide d_model"),
    "text for a number": (changed("encoder_layers", "3"), "encoder_layers: expected an integer"),
    "a layer too many": (changed("decoder_layers", 3), r"no tensor model\.decoder\.layers\.2\."),
    "other mels": (changed("num_mel_bins", 80), r"conv1\.weight has the shape \[48, 16, 3\], expected \[48, 80, 3\]"),
    "an odd activation": (changed("activation_function", "snake"), "activation 'snake' is not supported"),
    "untied without projection": (changed("tie_word_embeddings", False), r"no tensor proj_out\.weight"),
    "a missing tensor": (tensor(BIAS, None), f"no tensor {BIAS}"),
    "another shape": (tensor(BIAS, lambda a: a[:40]), rf"{BIAS} has the shape \[40\], expected \[48\]"),
    "NaN": (tensor(BIAS, with_nan), f"{BIAS} holds NaN"),
    "no tokenizer": (beside("tokenizer.json", None), r"tokenizer\.json is missing"),
    "a broken tokenizer": (beside("tokenizer.json", "{"), r"tokenizer\.json is not valid JSON"),
    "another tokenizer": (beside("tokenizer.json", tokenizer(added_tokens=[])), "no <|endoftext|>"),
    "alignment heads of another model": (
        beside("generation_config.json", generation_config(alignment_heads=[[7, 0]])),
        "alignment_heads",
    ),
    "features of another model": (beside("preprocessor_config.json", {"feature_size": 80}), "feature_size is 80"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_checkpoint_is_one_clear_error_and_leaves_nothing(kind: str, tmp_path: Path) -> None:
    write, complaint = BROKEN[kind]
    source = write(tmp_path / "hf")
    with pytest.raises(ArtifactError, match=complaint) as caught:
        run(source, "--precision", "fp32,int8,fp16", "--out", tmp_path / "made", "--accept-quality")
    assert "\n" not in str(caught.value)
    made = tmp_path / "made"
    assert not made.exists() or not any(made.iterdir())


def test_ctrl_c_in_the_middle_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_whisper(tmp_path / "hf")
    written: list[str] = []

    def interrupt(filters: Any) -> bytes:
        written.extend(path.name for path in (tmp_path / ".made.part").iterdir())
        raise KeyboardInterrupt

    monkeypatch.setattr(artifact, "_npy", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(source, "--precision", "fp32", "--out", tmp_path / "made", "--accept-quality")
    assert "decoder.onnx.data" in written
    assert [path.name for path in tmp_path.iterdir()] == ["hf"]
