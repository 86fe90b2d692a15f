"""An embedding worker on ONNX, driven over its socket."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from agent.engines.onnx.embedding import Embedder
from agent.runtime.wire.options import OnnxOptions
from convert.cli import main
from tests.convert.embed.small_encoders import CASES, TEXTS, VOCABULARY, write_encoder
from tests.engines.worker_process import Answer, WorkerProcess


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    source = write_encoder(folder / "bert", CASES["bert"])
    assert main(["embed", str(source), "--precision", "int8", "--out", str(folder / "out"), "--accept-quality"]) == 0
    return folder / "out"


@pytest.fixture(scope="module")
def worker(artifact: Path) -> Iterator[WorkerProcess]:
    with WorkerProcess(artifact, OnnxOptions(threads=1, batch_tokens=256)) as process:
        yield process


def vectors(answer: Answer) -> np.ndarray:
    assert answer.embedded is not None, answer.failed
    return np.frombuffer(answer.embedded.vectors, "<f4").reshape(-1, answer.embedded.dim)


def test_what_it_says_of_itself(worker: WorkerProcess) -> None:
    assert worker.loaded is not None
    assert (worker.loaded.embedding_dim, worker.loaded.vocab_tokens) == (16, VOCABULARY)
    assert worker.predicted is not None
    assert worker.predicted.total_bytes > worker.predicted.weights_bytes > 0
    assert worker.ping().resident_bytes > 0


def test_vectors_are_the_embedders_in_the_order_of_the_inputs(worker: WorkerProcess, artifact: Path) -> None:
    texts = tuple(TEXTS[:3] * 20)
    answer = worker.collect(worker.submit_embed(texts, truncate=True))[0]
    expected = Embedder(artifact).embed(texts)
    cosine = (vectors(answer) * expected).sum(axis=1)
    assert cosine.min() > 0.9999


def test_the_same_text_alone_in_a_batch_and_among_other_requests(worker: WorkerProcess) -> None:
    alone = vectors(worker.collect(worker.submit_embed(("w3 w1 w4",)))[0])[0]
    others = [" ".join(f"w{(i * j) % 32}" for j in range(1 + i % 40)) for i in range(60)]
    first = worker.submit_embed((*others, "w3 w1 w4"))
    many = [worker.submit_embed((text,)) for text in (*others[:20], "w3 w1 w4")]
    answers = worker.collect(first, *many)
    for found in (vectors(answers[0])[-1], vectors(answers[-1])[0]):
        assert found @ alone > 0.9999


def test_tokens_are_embedded_as_they_are(worker: WorkerProcess, artifact: Path) -> None:
    ids = Embedder(artifact).tokenize(["w3 w1"]).ids[0]
    by_text, by_tokens = worker.collect(worker.submit_embed(("w3 w1",)), worker.submit_embed((tuple(ids),)))
    assert np.allclose(vectors(by_text), vectors(by_tokens), atol=1e-6)
    assert by_tokens.embedded is not None
    assert by_tokens.embedded.prompt_tokens == len(ids)


@pytest.mark.parametrize(
    ("request_fields", "code", "message"),
    [
        ({"inputs": ("",)}, "invalid_request", "Input 0 is empty"),
        ({"inputs": ((VOCABULARY,),)}, "invalid_request", "tokens from 0 to"),
        ({"inputs": ((-1,),)}, "invalid_request", "tokens from 0 to"),
        ({"inputs": (" ".join(["w1"] * 500),)}, "context_length_exceeded", "tokens"),
        ({"inputs": ((5,) * 500,)}, "context_length_exceeded", "500 tokens"),
        ({"inputs": ("w1",), "prompt_name": "query"}, "invalid_request", "no prompt"),
    ],
    ids=["empty", "token too high", "token negative", "long text", "long tokens", "prompt"],
)
def test_a_wrong_input_is_one_clear_error(
    worker: WorkerProcess, request_fields: dict[str, object], code: str, message: str
) -> None:
    failed = worker.collect(worker.submit_embed(**request_fields))[0].failed  # type: ignore[arg-type]
    assert failed is not None
    assert failed.error.code == code
    assert message in failed.error.message


def test_a_long_input_is_cut_where_that_is_asked_for(worker: WorkerProcess) -> None:
    for inputs in (("w2", " ".join(["w1"] * 500)), ((5,), (5,) * 500)):
        answer = worker.collect(worker.submit_embed(inputs, truncate=True))[0]
        assert answer.embedded is not None
        assert answer.embedded.truncated == (1,)


def test_a_cancelled_request_is_confirmed_and_computed_no_further(worker: WorkerProcess) -> None:
    long = worker.submit_embed(tuple(" ".join(["w1"] * 150) for _ in range(500)))
    worker.cancel(long)
    worker.collect(until=lambda: bool(worker.answers[long].finished))
    assert worker.answers[long].finished[0].reason == "cancelled"
    assert vectors(worker.collect(worker.submit_embed(("w1",)))[0]).shape == (1, 16)
    assert worker.answers[long].embedded is None


def test_it_does_not_generate(worker: WorkerProcess) -> None:
    failed = worker.generate(prompt="x").failed
    assert failed is not None
    assert "embeds text" in failed.error.message


@pytest.mark.parametrize("damage", ["no graph", "cut graph", "no tokenizer", "not ONNX"])
def test_a_broken_artifact_is_a_load_error(artifact: Path, tmp_path: Path, damage: str) -> None:
    for path in artifact.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    graph = tmp_path / "model.onnx"
    match damage:
        case "no graph":
            graph.unlink()
        case "cut graph":
            os.truncate(graph, graph.stat().st_size // 2)
        case "no tokenizer":
            (tmp_path / "tokenizer.json").unlink()
        case "not ONNX":
            graph.write_bytes(b"GGUF" * 1000)
    with WorkerProcess(tmp_path, OnnxOptions()) as process:
        assert process.load_failed is not None
        assert process.load_failed.error.code == "model_load_failed"
        assert process.load_failed.error.message


def test_normalization_can_be_left_to_the_model(worker: WorkerProcess) -> None:
    raw = vectors(worker.collect(worker.submit_embed(("w3 w1",), normalize=False))[0])
    unit = vectors(worker.collect(worker.submit_embed(("w3 w1",), normalize=True))[0])
    assert np.linalg.norm(unit) == pytest.approx(1, abs=1e-5)
    assert np.allclose(raw / np.linalg.norm(raw), unit, atol=1e-6)
