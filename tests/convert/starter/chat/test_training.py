"""A very small training: it learns, goes on after a stop, and llama.cpp computes what PyTorch does."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from tokenizers import Tokenizer

from agent.errors import ArtifactError
from agent.runtime.wire.generation import Sampling
from agent.store.manifest import read_manifest
from convert.quality.gates import QualityError
from convert.starter.chat import gguf_file, pack
from convert.starter.chat import tokenizer as bpe
from convert.starter.chat.batches import batches
from convert.starter.chat.dialogue import Message
from convert.starter.chat.engine import Ask, ChatWorker
from convert.starter.chat.evaluation import Scored, held_out_requests, score_requests
from convert.starter.chat.model import Llama, Shape
from convert.starter.chat.training import Recipe, Run, Trained, train
from convert.starter.chat.vocabulary import schema
from convert.starter.muon import orthogonal

pytestmark = pytest.mark.torch

RECIPE = Recipe(seed=3, steps=12, batch_tokens=1024, threads=1)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return bpe.train(1, vocabulary=600, conversations=1_000)


@pytest.fixture(scope="module")
def shape(tokenizer: Tokenizer) -> Shape:
    return Shape(tokenizer.get_vocab_size(), width=64, layers=2, heads=2, kv_heads=1, feed_forward=96)


@pytest.fixture(scope="module")
def trained(tokenizer: Tokenizer, shape: Shape) -> Trained:
    return train(RECIPE, shape, tokenizer)


@pytest.fixture(scope="module")
def unquantized(tokenizer: Tokenizer, trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "f32.gguf"
    gguf_file.write(path, trained.model, tokenizer)
    return path


def test_training_makes_it_better(tokenizer: Tokenizer, shape: Shape) -> None:
    losses: list[float] = []
    train(replace(RECIPE, steps=30), shape, tokenizer, on_step=lambda done, total, loss: losses.append(loss))
    assert len(losses) == 30
    assert losses[-1] < losses[0] - 0.3


def test_the_same_recipe_makes_the_same_model(tokenizer: Tokenizer, shape: Shape, trained: Trained) -> None:
    again = train(RECIPE, shape, tokenizer)
    for name, tensor in again.model.state_dict().items():
        assert torch.equal(tensor, trained.model.state_dict()[name]), name


def test_a_training_that_was_stopped_goes_on(
    tokenizer: Tokenizer, shape: Shape, trained: Trained, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "checkpoint"
    torch.manual_seed(RECIPE.seed)
    run = Run(RECIPE, Llama(shape))
    stream = batches(tokenizer, RECIPE.seed + 1, batch_tokens=RECIPE.batch_tokens, prompt_weight=RECIPE.prompt_weight)
    for _ in range(5):
        run.step(next(stream))
    run.save(checkpoint)
    resumed = train(RECIPE, shape, tokenizer, checkpoint)
    assert resumed.steps == RECIPE.steps
    for name, tensor in resumed.model.state_dict().items():
        assert torch.equal(tensor, trained.model.state_dict()[name]), name


def test_a_checkpoint_of_another_training_is_refused(tokenizer: Tokenizer, shape: Shape, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    Run(RECIPE, Llama(shape)).save(checkpoint)
    with pytest.raises(ArtifactError, match="another training"):
        train(replace(RECIPE, seed=4), shape, tokenizer, checkpoint)
    checkpoint.write_bytes(b"no checkpoint")
    with pytest.raises(ArtifactError, match="no checkpoint"):
        train(RECIPE, shape, tokenizer, checkpoint)


@pytest.mark.parametrize("size", [(8, 8), (4, 16), (16, 4)])
def test_muon_s_directions_are_nearly_orthogonal(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonal(torch.randn(*size)))
    assert values.min() > 0.5
    assert values.max() < 1.3


def test_llama_cpp_computes_what_pytorch_does(tokenizer: Tokenizer, trained: Trained, unquantized: Path) -> None:
    talk = [Message("user", "hello, turn on the kitchen light")]
    example = [*bpe.encode(tokenizer, talk, prompt_weight=0.0).tokens, bpe.SPECIAL.index(bpe.ASSISTANT)]
    with torch.no_grad():
        tokens = list(example)
        for _ in range(12):
            tokens.append(int(trained.model(torch.tensor([tokens]))[0, -1].argmax()))
    expected = tokenizer.decode([token for token in tokens[len(example) :]], skip_special_tokens=False)
    with ChatWorker(unquantized) as worker:
        ask = Ask(
            ({"role": "user", "content": "Hello, turn on the kitchen light"},), sampling=Sampling(temperature=0.0)
        )
        (answer,) = worker.answers([ask])
    assert answer.startswith(expected.split("<|", 1)[0])


def test_even_an_untrained_model_writes_valid_actions(tokenizer: Tokenizer, shape: Shape, tmp_path: Path) -> None:
    path = tmp_path / "q8.gguf"
    pack.quantized(Llama(shape), tokenizer, path)
    with ChatWorker(path) as worker:
        answers = worker.answers([Ask(({"role": "user", "content": "hi"},), schema())] * 3)
    assert worker.loaded.has_chat_template
    for answer in answers:
        assert re.match('{"action": ?"[a-z_]', answer)


def judge(worker: ChatWorker) -> tuple[dict[str, Any], dict[str, Scored]]:
    """Every figure, of a few requests."""
    scored = score_requests(worker, held_out_requests(3))
    named = (
        "requests",
        "requests_without_schema",
        "held_out_wordings",
        "handwritten",
        "openers",
        "opener_wordings",
        "questions",
    )
    return {name: scored.share for name in (*named, "requests_all_keys", "in_words")}, {"requests": scored}


def test_an_artifact_has_its_card_and_what_was_measured(tokenizer: Tokenizer, trained: Trained, tmp_path: Path) -> None:
    made = tmp_path / "made"
    said: list[str] = []
    manifest, scored = pack.pack(trained, tokenizer, made, RECIPE, accept=True, judge=judge, say=said.append)
    assert read_manifest(made / "manifest.json") == manifest
    assert {file.path for file in manifest.files} == {"LICENSE", "README.md", "model.gguf"}
    assert (manifest.quantization, manifest.license, manifest.task) == ("Q8_0", "mit", "generate")
    assert manifest.quality["requests"] == scored["requests"].share == 0.0  # twelve steps
    assert manifest.quality["accepted"]
    card = (made / "README.md").read_text("utf-8")
    assert "action, target, room and value | 0.0% |" in card
    assert card.count("**") > 40
    assert len(said) == 2


def test_a_model_below_its_bar_is_not_kept(tokenizer: Tokenizer, trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(QualityError, match="held-out requests"):
        pack.pack(trained, tokenizer, tmp_path / "made", RECIPE, judge=judge, say=lambda text: None)
    assert list(tmp_path.iterdir()) == []
