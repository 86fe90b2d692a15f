"""The starter-embed that ships, in the engine that serves it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agent.engines.onnx.embedding import Embedder
from agent.engines.onnx.session import SessionOptions
from agent.store.manifest import read_manifest
from convert.starter.embed.packing import GATES
from convert.starter.embed.pairs import english
from tests.convert.embed.conftest import FIXTURES
from tests.convert.embed.sentences import SENTENCES

FOLDER = Path(__file__).resolve().parents[4] / "agent" / "starter" / "models" / "starter-embed"


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder(FOLDER, SessionOptions(threads=1))


def test_it_is_small_and_passed_every_gate() -> None:
    manifest = read_manifest(FOLDER / "manifest.json")
    assert manifest.total_bytes < 7_000_000
    assert manifest.embedding_dim == 384
    assert all(gate.holds(manifest.quality[gate.key]) for gate in GATES)
    assert {file.path for file in manifest.files} >= {"README.md", "LICENSE", "NOTICE"}


def test_its_vectors_are_near_the_teacher_s(embedder: Embedder) -> None:
    theirs = np.load(FIXTURES / "all_minilm_l6_v2.npy")
    plain = [place for place, text in enumerate(SENTENCES) if english([text])]
    assert len(plain) > 5
    cosines = (embedder.embed([SENTENCES[place] for place in plain]) * theirs[plain]).sum(1)
    assert cosines.mean() > 0.75


@pytest.mark.parametrize(
    ("query", "passage"),
    [
        ("How do I change the filter?", "Replace the filter of the pump every 500 hours."),
        ("It is too dark in here.", "The lights of the living room can be switched on at the door."),
        ("Where can I park?", "There is a garage for cars behind the hotel."),
        ("I have a headache.", "A tablet helps against pain in the head."),
        ("password forgotten", "To reset your password, click on the link in the email."),
        ("Will it be cold tomorrow?", "Frost and temperatures of minus five degrees are expected on Monday."),
        ("How long do I cook potatoes?", "Boil the potatoes for twenty minutes in salted water."),
        ("Who won the match?", "The home team beat its rivals by three goals to one."),
    ],
)
def test_a_question_finds_its_passage(embedder: Embedder, query: str, passage: str) -> None:
    passages = [case[1] for mark in test_a_question_finds_its_passage.pytestmark for case in mark.args[1]]  # type: ignore[attr-defined]
    similar = embedder.embed(passages) @ embedder.embed([query])[0]
    assert passages[int(similar.argmax())] == passage
