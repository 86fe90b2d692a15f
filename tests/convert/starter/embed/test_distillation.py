"""A very small distillation: it learns, goes on after a stop, and the engine computes what PyTorch does."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from transformers import BertConfig, BertModel

from agent.engines.onnx.embedding import Embedder
from agent.store.manifest import read_manifest
from convert.quality.gates import QualityError
from convert.starter.embed.distillation import CHECKPOINT, Distillation, Recipe, loss_of, rate_at
from convert.starter.embed.evaluation import agreement
from convert.starter.embed.grammar import grammar_texts, read_subjects
from convert.starter.embed.packing import Training, pack
from convert.starter.embed.pairs import held_out_pairs
from convert.starter.embed.sentences import Sources
from convert.starter.embed.student import LAYERS, MAX_TOKENS, Student
from convert.starter.embed.teacher import Labels, Teacher, padded
from tests.convert.starter.embed.test_vocabulary import teacher_json

pytestmark = pytest.mark.torch

WIDTH = 32
RECIPE = Recipe(sentences=240, epochs=3, chunk_families=40, batch_families=8, rate=3e-3)
TEXTS = ["Turn on the light in the kitchen.", "It rains.", "How do I change the belt of the pump, and with which tool?"]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    """Six narrow layers of random weights, and as its vocabulary the words of the grammar."""
    folder = tmp_path_factory.mktemp("teacher")
    tokenizer = teacher_json()
    model = tokenizer["model"]
    assert isinstance(model, dict)
    words = dict.fromkeys(word for text in grammar_texts() for word in text.lower().split() if word.isalpha())
    model["vocab"] |= {word: len(model["vocab"]) + place for place, word in enumerate(set(words) - set(model["vocab"]))}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    torch.manual_seed(5)
    config = BertConfig(
        vocab_size=len(model["vocab"]),
        hidden_size=WIDTH,
        num_hidden_layers=6,
        num_attention_heads=4,
        intermediate_size=64,
        initializer_range=0.3,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return Teacher(folder)


@pytest.fixture
def student(teacher: Teacher) -> Student:
    return Student.from_teacher(teacher, ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *teacher.vocabulary[6:2500]])


@pytest.fixture
def distill(teacher: Teacher, student: Student, tmp_path: Path) -> Callable[..., list[float]]:
    """Trains `student` in tmp_path and returns the losses; with `stop_after` it is interrupted after so many steps."""
    sources = Sources(read_subjects(), [word for word in teacher.vocabulary if len(word) > 2], ())

    def run(given: Student = student, *, stop_after: int | None = None, recipe: Recipe = RECIPE) -> list[float]:
        losses: list[float] = []

        def watch(done_share: float, loss: float, used_s: float) -> None:
            assert 0 <= done_share < 1
            losses.append(loss)
            if len(losses) == stop_after:
                raise KeyboardInterrupt

        torch.set_num_threads(1)
        labels = Labels(teacher, tmp_path / "labels")
        Distillation(given, sources, labels, recipe, tmp_path).run(watch)
        return losses

    return run


def vectors(student: Student, texts: Sequence[str]) -> np.ndarray:
    with torch.inference_mode():
        return np.concatenate([student(*padded(student.rows([text]))).numpy() for text in texts])


def test_the_student_begins_as_a_part_of_the_teacher(teacher: Teacher, student: Student) -> None:
    ours, theirs = student.encoder, teacher.model
    row = student.tokenizer.token_to_id("kitchen"), teacher.tokenizer.token_to_id("kitchen")
    assert torch.equal(ours.embeddings.word_embeddings.weight[row[0]], theirs.embeddings.word_embeddings.weight[row[1]])
    for place, layer in enumerate(LAYERS):
        mine, whole = ours.encoder.layer[place].state_dict(), theirs.encoder.layer[layer].state_dict()
        assert all(torch.equal(mine[name], whole[name]) for name in whole)
    assert ours.config.max_position_embeddings == MAX_TOKENS


def test_training_brings_it_nearer(distill: Callable[..., list[float]]) -> None:
    losses = distill()
    assert len(losses) == 2 * 5 * 3  # chunks, batches of each, epochs
    assert np.mean(losses[-6:]) < 0.7 * np.mean(losses[:6])


def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(
    teacher: Teacher, student: Student, distill: Callable[..., list[float]], tmp_path: Path
) -> None:
    recipe = Recipe(**{**vars(RECIPE), "checkpoint_every_s": 0.0})
    entries = student.tokenizer.get_vocab()
    again = Student.from_teacher(teacher, sorted(entries, key=entries.__getitem__))
    whole = distill(recipe=recipe)
    (tmp_path / CHECKPOINT).unlink()
    with pytest.raises(KeyboardInterrupt):
        distill(again, recipe=recipe, stop_after=17)  # in the middle of the fourth chunk
    rest = distill(again, recipe=recipe)
    assert distill(again, recipe=recipe) == []  # it is done, and stays so
    assert len(rest) == len(whole) - 15
    np.testing.assert_allclose(rest, whole[15:], rtol=1e-4)
    np.testing.assert_allclose(vectors(again, TEXTS), vectors(student, TEXTS), atol=1e-4)


def test_minutes_end_it_early(distill: Callable[..., list[float]]) -> None:
    assert len(distill(recipe=Recipe(**{**vars(RECIPE), "minutes": 1e-9}))) == 0


def test_labels_are_computed_once(teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = Labels(teacher, tmp_path)
    first = labels.of(TEXTS)
    np.testing.assert_allclose(first, teacher.vectors(TEXTS, exact=True), atol=0.02)
    monkeypatch.setattr(Teacher, "vectors", None)
    assert np.array_equal(labels.of(TEXTS), first)


def test_the_loss_is_zero_only_where_vectors_are_equal() -> None:
    units = torch.nn.functional.normalize(torch.randn(6, 8, generator=torch.Generator().manual_seed(1)), dim=-1)
    assert float(loss_of(units, units)) == pytest.approx(0, abs=1e-6)
    turned = units.roll(1, dims=1)  # all similarities stay, every vector moves
    assert float(loss_of(turned, units)) == pytest.approx(1 - float((turned * units).sum(1).mean()), abs=1e-5)


def test_the_rate_rises_then_falls_to_nothing() -> None:
    rates = [rate_at(share / 100) for share in range(101)]
    assert rates[0] == 0
    assert max(rates) == rates[4] == 1
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[100] == pytest.approx(0, abs=1e-9)


def test_the_artifact_computes_what_was_trained_and_is_measured(
    teacher: Teacher, student: Student, distill: Callable[..., list[float]], tmp_path: Path
) -> None:
    distill()
    student.save(tmp_path / "student")
    sets = {"held_out": held_out_pairs(read_subjects(), 1, 60), "general": held_out_pairs(read_subjects(), 2, 60)}
    training = Training(seed=0, sentences=240, computed_s=1.0)
    target = tmp_path / "made"
    manifest = pack(tmp_path / "student", target, teacher.vectors, sets, training, threads=1, accept=True)
    embedder = Embedder(target)
    assert (embedder.dimension, embedder.max_tokens) == (WIDTH, MAX_TOKENS)
    ours = embedder.embed(TEXTS)
    assert (ours * vectors(student, TEXTS)).sum(1).min() > 0.97
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-4)
    assert manifest == read_manifest(target / "manifest.json")
    found = agreement(sets["held_out"], embedder.embed, teacher.vectors)
    assert manifest.quality["spearman_held_out"] == found["spearman"]
    assert {"README.md", "LICENSE", "NOTICE", "model.onnx", "tokenizer.json"} <= {file.path for file in manifest.files}
    text = (target / "README.md").read_text()
    assert f"{manifest.quality['spearman_held_out']:.3f}" in text
    assert "Apache" in text


def test_an_artifact_that_is_not_good_enough_is_not_made(teacher: Teacher, student: Student, tmp_path: Path) -> None:
    student.save(tmp_path / "student")
    pairs = {"held_out": held_out_pairs(read_subjects(), 1, 60)}  # no general ones: they count as missed
    with pytest.raises(QualityError, match="hand-written"):
        pack(tmp_path / "student", tmp_path / "made", teacher.vectors, pairs, Training(0, 240, 1.0))
    assert [path.name for path in tmp_path.iterdir()] == ["student"]
