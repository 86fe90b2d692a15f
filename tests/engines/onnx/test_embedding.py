"""The embedder on folders as people download them: other inputs, other outputs, pooling outside of the graph."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from agent.engines.onnx.embedding import Embedder
from agent.engines.onnx.session import SessionOptions
from agent.errors import ContextOverflowError, EngineError, ModelLoadError, RequestError
from convert.onnx.graph import Graph

ONE = SessionOptions(threads=1)
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "c", "d", "e"]
TABLE = np.random.default_rng(3).standard_normal((len(WORDS), 4)).astype(np.float32)
IDS = [[2, 4, 5, 3], [2, 6, 3], [2, 4, 5, 6, 7, 8, 3]]
TEXTS = ["a b", "c", "a b c d e"]


def write_folder(
    folder: Path,
    *,
    graph: str = "onnx/model_quantized.onnx",
    inputs: dict[str, Any] | None = None,
    output: str = "last_hidden_state",
    table: np.ndarray[Any, Any] = TABLE,
    **files: Any,
) -> Path:
    """A model whose states are rows of `table`, or, for sentence_embedding, the first of them."""
    made = Graph("toy")
    kinds = inputs or dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), np.int64)
    names = [made.input(name, kind, ["batch", "tokens"]) for name, kind in kinds.items()]
    states = made.node("Gather", made.weight("table", lambda: table, table.shape, table.dtype), names[0], axis=0)
    if output == "sentence_embedding":
        first = made.node("Gather", states, made.constant(0, np.int64), axis=1)
        made.output(first, output, table.dtype, ["batch", 4])
    else:
        made.output(states, output, table.dtype, ["batch", "tokens", 4])
    (folder / graph).parent.mkdir(parents=True, exist_ok=True)
    made.save(folder / graph)
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.save(str(folder / "tokenizer.json"))
    beside = {"config.json": {"model_type": "bert", "max_position_embeddings": 8, "pad_token_id": 0}, **files}
    for name, content in beside.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def pooling(**modes: bool) -> dict[str, Any]:
    return {"1_Pooling/config.json": {f"pooling_mode_{mode}": value for mode, value in modes.items()}}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, lambda row: row.mean(0)),
        (pooling(cls_token=True, mean_tokens=False), lambda row: row[0]),
        (pooling(lasttoken=True), lambda row: row[-1]),
        (pooling(max_tokens=True), lambda row: row.max(0)),
        (pooling(mean_sqrt_len_tokens=True), lambda row: row.sum(0) / np.sqrt(len(row))),
        (pooling(weightedmean_tokens=True), lambda row: np.average(row, 0, np.arange(1, len(row) + 1))),
        (pooling(mean_tokens=True, cls_token=True), lambda row: np.concatenate([row[0], row.mean(0)])),
        ({"1_Pooling/config.json": {"pooling_mode": "cls"}}, lambda row: row[0]),
        (
            {"modules.json": [{"type": "sentence_transformers.models.Normalize"}]},
            lambda row: row.mean(0) / np.linalg.norm(row.mean(0)),
        ),
    ],
)
def test_states_are_pooled_as_the_files_say(files: dict[str, Any], expected: Any, tmp_path: Path) -> None:
    embedder = Embedder(write_folder(tmp_path, **files), ONE)
    want = np.array([expected(TABLE[row]) for row in IDS])
    np.testing.assert_allclose(embedder.embed(TEXTS), want, rtol=1e-6)
    assert embedder.dimension == want.shape[1]


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": {"input_ids": np.int64}},
        {"inputs": {"input_ids": np.int32, "attention_mask": np.int32}},
        {"output": "token_embeddings"},
        {"table": TABLE.astype(np.float16)},
        {"graph": "model.onnx"},
        {"graph": "onnx/model_fp16.onnx"},
    ],
)
def test_graphs_of_other_forms(change: dict[str, Any], tmp_path: Path) -> None:
    embedder = Embedder(write_folder(tmp_path, **change), ONE)
    vectors = embedder.embed(TEXTS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, [TABLE[row].mean(0) for row in IDS], atol=1e-3)


def test_a_graph_that_pools_is_left_alone(tmp_path: Path) -> None:
    files = {"modules.json": [{"type": "sentence_transformers.models.Normalize"}], **pooling(mean_tokens=True)}
    embedder = Embedder(write_folder(tmp_path, output="sentence_embedding", **files), ONE)
    np.testing.assert_array_equal(embedder.embed(TEXTS), [TABLE[2]] * 3)


def test_the_manifest_chooses_the_graph_and_the_length(tmp_path: Path) -> None:
    manifest = {"context": 5, "metadata": {"graphs": {"model": "onnx/model.onnx"}}}
    write_folder(tmp_path, table=np.zeros_like(TABLE))
    embedder = Embedder(write_folder(tmp_path, graph="onnx/model.onnx", **{"manifest.json": manifest}), ONE)
    assert embedder.max_tokens == 5
    assert embedder.embed(TEXTS).any()


def test_many_texts_keep_their_order(tmp_path: Path) -> None:
    embedder = Embedder(write_folder(tmp_path), ONE)
    random = np.random.default_rng(1)
    texts = [" ".join(random.choice(WORDS[4:], random.integers(1, 7))) for _ in range(100)]
    want = [TABLE[row].mean(0) for row in embedder.tokenize(texts).ids]
    for batch_tokens in (1, 16, 4096):
        np.testing.assert_allclose(embedder.embed(texts, batch_tokens=batch_tokens), want, rtol=1e-5, atol=1e-6)
    assert embedder.embed([]).shape == (0, 4)


def test_long_texts_are_cut_before_the_last_special_token_or_refused(tmp_path: Path) -> None:
    embedder = Embedder(write_folder(tmp_path), ONE, max_tokens=5)
    tokens = embedder.tokenize(["a", "a b c d e", "a b c"])
    assert tokens.ids == [[2, 4, 3], [2, 4, 5, 6, 3], [2, 4, 5, 6, 3]]
    assert tokens.truncated == (1,)
    with pytest.raises(ContextOverflowError, match="Text 1 has 7 tokens, and the model takes 5"):
        embedder.embed(["a", "a b c d e"], truncate=False)
    assert embedder.tokenize(["a b c"], truncate=False).truncated == ()


def test_the_limit_is_the_least_that_any_file_names(tmp_path: Path) -> None:
    files = {"sentence_bert_config.json": {"max_seq_length": 6}}
    assert Embedder(write_folder(tmp_path, **files), ONE).max_tokens == 6
    assert Embedder(tmp_path, ONE, max_tokens=100).max_tokens == 6
    roberta = {"config.json": {"model_type": "roberta", "max_position_embeddings": 7}}
    assert Embedder(write_folder(tmp_path / "r", **roberta), ONE).max_tokens == 5


def test_prompts(tmp_path: Path) -> None:
    settings = {"prompts": {"query": "q: ", "document": ""}, "default_prompt_name": None}
    embedder = Embedder(write_folder(tmp_path, **{"config_sentence_transformers.json": settings}), ONE)
    assert (embedder.prompt(), embedder.prompt("query"), embedder.prompt("document")) == ("", "q: ", "")
    with pytest.raises(RequestError, match="has no prompt 'passage'") as caught:
        embedder.prompt("passage")
    assert "'query', 'document'" in caught.value.hint


def test_what_a_request_can_do_wrong(tmp_path: Path) -> None:
    embedder = Embedder(write_folder(tmp_path), ONE)
    assert embedder.vocabulary == 9
    with pytest.raises(RequestError, match="Text 1 has a lone surrogate"):
        embedder.embed(["fine", "\ud800"])
    with pytest.raises(EngineError, match="failed while it ran"):
        embedder.vectors([[2, 9, 3]])
    assert embedder.embed(["", "nothing known"]).shape == (2, 4)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"output": "logits"}, "no output sentence_embedding or last_hidden_state, only 'logits'"),
        ({"inputs": {"input_ids": np.int64, "pixel_values": np.int64}}, "wants an input 'pixel_values'"),
        ({"inputs": {"tokens": np.int64}}, "wants an input 'tokens'"),
        ({"inputs": {"input_ids": np.int64, "attention_mask": np.uint8}}, "an input of the type 'tensor\\(uint8\\)'"),
        ({"table": np.full_like(TABLE, np.nan)}, "cannot embed a text of one token: .*not finite"),
        ({"graph": "onnx/other.onnx"}, "has no ONNX graph"),
        ({"tokenizer.json": "{"}, "tokenizer.json cannot be read"),
        ({"config.json": "[]"}, "config.json is not a JSON object"),
        ({"modules.json": "{"}, "modules.json is not valid JSON"),
        ({"modules.json": '[{"type": "sentence_transformers.models.Dense"}]'}, "Dense"),
        ({"1_Pooling/config.json": {"pooling_mode": "median"}}, "'median' is no pooling that is supported"),
        ({"manifest.json": {"metadata": {"graphs": {"model": "../../x.onnx"}}, "files": 3}}, None),
    ],
)
def test_what_a_folder_can_have_wrong(change: dict[str, Any], says: str | None, tmp_path: Path) -> None:
    folder = write_folder(tmp_path, **change)
    if says is None:  # the path out of the folder is passed over, the graph inside is found
        assert Embedder(folder, ONE).dimension == 4
        return
    with pytest.raises(ModelLoadError, match=says):
        Embedder(folder, ONE)
