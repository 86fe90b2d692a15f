"""Vectors of GGUF embedding models, and artifacts that are measured by them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agent.errors import ModelLoadError
from convert.gguf.artifact import Quantizer, Source
from convert.gguf.vectors import embed


def test_an_embedding_model_is_measured_by_its_vectors(embedding_model: Path, tmp_path: Path) -> None:
    with Quantizer(
        Source(embedding_model, "F32", "bert"), text=None, threads=1, accept=False, imatrix=None, say=lambda _: None
    ) as made:
        manifest = made.make("Q8_0", made.plan(["Q8_0"])["Q8_0"], tmp_path / "out", name="b", version="1").manifest
    assert (manifest.task, manifest.quality["against"], manifest.quality["passed"]) == ("embed", "F32", True)
    assert 0.99 < manifest.quality["worst_cosine"] <= manifest.quality["mean_cosine"] < 1
    assert manifest.embedding_dim > 0


def test_vectors_are_of_length_one_and_the_same_each_time(embedding_model: Path) -> None:
    sentences = ("Turn off the lights.", "What time is it?", "word " * 2000)
    first, second = (embed(embedding_model, sentences, threads=1) for _ in range(2))
    assert np.array_equal(first, second)
    assert np.allclose(np.linalg.norm(first, axis=1), 1, atol=1e-5)


def test_what_cannot_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelLoadError, match=r"m\.gguf cannot be loaded"):
        embed(tmp_path / "m.gguf", ("a", "b", "c"), threads=1)
