"""Each thing that can be wrong with a checkpoint is one clear sentence, and nothing is left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convert.cli import main
from tests.convert.embed.small_encoders import CASES, WIDTH, Tensors, config_of, files_of, tensors_of, write_encoder
from tests.convert.hf_folder import write_checkpoint

BERT = CASES["bert"]
MODULES = files_of(BERT)["modules.json"]


def convert(source: Path, out: Path, *more: str) -> int:
    return main(["embed", str(source), "--out", str(out), "--threads", "1", *more])


def refused(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    """The one line on stderr."""
    before = sorted(path.name for path in tmp_path.iterdir())
    assert convert(source, tmp_path / "out", *more) in (1, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model_type": "t5"}, "the architecture 't5' is not supported"),
        ({"model_type": None}, "config.json has no model_type"),
        ({"hidden_size": None}, "config.json has no hidden_size"),
        ({"num_attention_heads": 5}, "a width of 16 does not divide into 5"),
        ({"num_hidden_layers": "2"}, "num_hidden_layers: expected an integer"),
        ({"num_hidden_layers": 3}, "has no tensor encoder.layer.2.attention.self.query.weight"),
        ({"hidden_act": "softplus"}, "the activation 'softplus' is not supported"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type 'relative_key' is not supported"),
        ({"vocab_size": 35}, "has the shape [36, 16], expected [35, 16]"),
        ({"intermediate_size": 23}, "has the shape [24, 16], expected [23, 16]"),
    ],
)
def test_config(change: dict[str, Any], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = {key: value for key, value in {**config_of(BERT), **change}.items() if value is not None}
    # A tokenizer that fits any vocabulary, so that the weights are looked at.
    source = write_checkpoint(tmp_path / "m", config, tensors_of(BERT), files=small_tokenizer())
    assert says in refused(source, tmp_path, capsys)


def small_tokenizer() -> dict[str, Any]:
    files = files_of(BERT)
    tokenizer = json.loads(files["tokenizer.json"])
    tokenizer["model"]["vocab"] = {word: i for word, i in tokenizer["model"]["vocab"].items() if i < 20}
    return {**files, "tokenizer.json": json.dumps(tokenizer)}


def without(name: str) -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        del tensors[name]

    return change


def not_finite(tensors: Tensors) -> None:
    tensors["encoder.layer.1.output.dense.weight"][3, 4] = np.nan


def other_shape(tensors: Tensors) -> None:
    tensors["encoder.layer.0.attention.self.key.weight"] = np.zeros((WIDTH, WIDTH + 1), np.float32)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (without("embeddings.word_embeddings.weight"), "has no tensor embeddings.word_embeddings.weight nor bert."),
        (without("encoder.layer.1.output.LayerNorm.bias"), "has no tensor encoder.layer.1.output.LayerNorm.bias"),
        (not_finite, "encoder.layer.1.output.dense.weight holds NaN or infinite values"),
        (other_shape, "encoder.layer.0.attention.self.key.weight has the shape [16, 17], expected [16, 16]"),
    ],
)
def test_weights(
    change: Callable[[Tensors], None], says: str, precision: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = tensors_of(BERT)
    change(tensors)
    source = write_encoder(tmp_path / "m", BERT, tensors=tensors)
    assert says in refused(source, tmp_path, capsys, "--precision", precision)


def test_a_weight_too_large_for_float16(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensors = tensors_of(BERT)
    tensors["encoder.layer.0.output.dense.bias"][0] = 1e5
    source = write_encoder(tmp_path / "m", BERT, tensors=tensors)
    assert "holds 1e+05, and float16 ends at 65504" in refused(source, tmp_path, capsys, "--precision", "fp16")


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"tokenizer.json": None}, "m has no tokenizer.json"),
        ({"tokenizer.json": "{}"}, "tokenizer.json cannot be read"),
        ({"modules.json": "{"}, "modules.json is not valid JSON"),
        ({"modules.json": {}}, "modules.json is not a list"),
        ({"modules.json": MODULES[:1]}, "modules.json lists no Pooling"),
        ({"modules.json": [{"path": "", "type": "sentence_transformers.models.CNN"}]}, "CNN as module 0"),
        ({"modules.json": [MODULES[0], {**MODULES[1], "path": "../1_Pooling"}]}, "modules.json: the path"),
        ({"1_Pooling/config.json": None}, "config.json is missing"),
        ({"1_Pooling/config.json": {"word_embedding_dimension": 16}}, "config.json names no pooling"),
        ({"1_Pooling/config.json": {"pooling_mode": "median"}}, "'median' is no pooling that is supported"),
        ({"1_Pooling/config.json": {"pooling_mode_best_tokens": True}}, "'pooling_mode_best_tokens' is no pooling"),
        ({"1_Pooling/config.json": {"word_embedding_dimension": 17}}, "is 17, but the transformer's width is 16"),
        ({"1_Pooling/config.json": {"include_prompt": False}}, "include_prompt false"),
        ({"sentence_bert_config.json": {"max_seq_length": 0}}, "max_seq_length: expected an integer from 1"),
        ({"sentence_bert_config.json": {"max_seq_length": 2}}, "2 tokens leaves no room beside 2 special tokens"),
        ({"config_sentence_transformers.json": {"prompts": {"query": 3}}}, "the prompt 'query' is not a text"),
        ({"config_sentence_transformers.json": {"default_prompt_name": "x"}}, "'x' is not among the prompts"),
    ],
)
def test_files_beside(files: dict[str, Any], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert says in refused(write_encoder(tmp_path / "m", BERT, files=files), tmp_path, capsys)


def test_a_tokenizer_that_leaves_capitals_where_the_model_wants_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = {"sentence_bert_config.json": {"max_seq_length": 9, "do_lower_case": True}}
    tokenizer = json.loads(files_of(BERT)["tokenizer.json"])
    tokenizer["model"]["vocab"]["text"] = tokenizer["model"]["vocab"].pop("w7")
    source = write_encoder(tmp_path / "m", BERT, files={**limits, "tokenizer.json": tokenizer})
    assert "do_lower_case is true, but tokenizer.json does not" in refused(source, tmp_path, capsys)
    tokenizer["normalizer"] = {"type": "Lowercase"}
    source = write_encoder(tmp_path / "m", BERT, files={**limits, "tokenizer.json": tokenizer})
    assert convert(source, tmp_path / "out", "--accept-quality") == 0


def test_a_tokenizer_of_another_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer = json.loads(files_of(BERT)["tokenizer.json"])
    tokenizer["model"]["vocab"]["beyond"] = 36
    source = write_encoder(tmp_path / "m", BERT, files={"tokenizer.json": tokenizer})
    assert "has a token 36, but the embedding has 36 rows" in refused(source, tmp_path, capsys)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"in_features": 47}, "in_features is 47, but 48 come in"),
        ({"activation_function": "torch.nn.modules.activation.Hardtanh"}, "the activation 'Hardtanh' is not supported"),
        ({"out_features": 7}, "linear.weight has the shape [6, 48], expected [7, 48]"),
    ],
)
def test_dense(change: dict[str, Any], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_encoder(tmp_path / "m", CASES["bert-heads"])
    path = source / "2_Dense" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert says in refused(source, tmp_path, capsys)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--precision", "int4"], "--precision: 'int4' is unknown"),
        (["--threads", "-1"], "--threads: expected 0 or more, got -1"),
        (["--text", "missing.txt"], "missing.txt cannot be read"),
    ],
)
def test_options(options: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert says in refused(write_encoder(tmp_path / "m", BERT), tmp_path, capsys, *options)


def test_an_output_that_exists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir()
    assert "exists already" in refused(write_encoder(tmp_path / "m", BERT), tmp_path, capsys)
