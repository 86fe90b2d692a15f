"""The shapes that benchmarks stand in for published checkpoints with are those checkpoints' shapes, and convert."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agent.engines.onnx.whisper.artifact import read_spec
from benchmarks.models.whisper_shapes import SHAPES, Vocabulary, tensors, write_checkpoint
from convert.checkpoint import open_checkpoint
from convert.whisper.artifact import read_model
from convert.whisper.shape import WhisperTensors, expected_tensors, read_shape
from tests.convert.whisper.onnx_whisper import OnnxWhisper, convert


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(SHAPES["nano"], tmp_path_factory.mktemp("nano") / "hf")


# As the model pages of huggingface.co/openai/whisper-* and distil-whisper/* show them.
@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("tiny", 37.8),
        ("tiny.en", 37.8),
        ("base", 72.6),
        ("small", 242),
        ("medium", 764),
        ("large-v3", 1540),
        ("large-v3-turbo", 809),
        ("distil-large-v3", 756),
    ],
)
def test_parameters_are_those_of_the_published_model(name: str, millions: float) -> None:
    parameters = sum(int(np.prod(shape)) for _, shape in tensors(SHAPES[name]))
    assert parameters / 1e6 == pytest.approx(millions, rel=3e-3)


# Ids as openai/whisper's tokenizer numbers them: whisper/tokenizer.py.
@pytest.mark.parametrize(
    ("name", "token", "expected"),
    [
        ("tiny", "<|endoftext|>", 50_257),
        ("tiny", "<|notimestamps|>", 50_363),
        ("tiny", "<|30.00|>", 51_864),
        ("tiny.en", "<|endoftext|>", 50_256),
        ("tiny.en", "<|notimestamps|>", 50_362),
        ("large-v3-turbo", "<|yue|>", 50_358),
        ("large-v3-turbo", "<|0.00|>", 50_365),
    ],
)
def test_special_tokens_have_the_published_ids(name: str, token: str, expected: int) -> None:
    assert Vocabulary(SHAPES[name].vocabulary).special[token] == expected


def test_the_converter_reads_the_tensors_that_the_shape_writes(nano: Path) -> None:
    with open_checkpoint(nano) as checkpoint:
        shape = read_shape(checkpoint.config)
        assert expected_tensors(WhisperTensors(checkpoint), shape) == dict(tensors(SHAPES["nano"]))
        assert read_model(checkpoint).parameters == sum(int(np.prod(dims)) for _, dims in tensors(SHAPES["nano"]))


def test_such_a_checkpoint_converts_and_runs(nano: Path, tmp_path: Path) -> None:
    folder = convert(nano, tmp_path / "int8", "int8")
    spec = read_spec(folder)
    assert (spec.languages, spec.tokens.timestamp_begin) == ({"en": spec.tokens.sot + 1}, 949)
    whisper = OnnxWhisper(folder)
    whisper.listen(np.zeros((1, 80, 100), np.float32))
    logits = whisper.step([[spec.tokens.sot, spec.tokens.sot + 1]])["logits"]
    assert logits.shape == (1, 1000)
    assert np.isfinite(logits).all()


def test_a_shape_and_a_seed_are_one_checkpoint(nano: Path, tmp_path: Path) -> None:
    again = write_checkpoint(SHAPES["nano"], tmp_path / "again")
    other = write_checkpoint(SHAPES["nano"], tmp_path / "other", seed=1)
    weights = [(folder / "model.safetensors").read_bytes() for folder in (nano, again, other)]
    assert weights[0] == weights[1] != weights[2]
