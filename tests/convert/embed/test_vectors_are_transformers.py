"""The converted graphs make the vectors that transformers makes; see make_fixtures.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.engines.onnx.embedding import Embedder
from agent.engines.onnx.session import SessionOptions
from convert.cli import main
from convert.embed.mpnet import bucket_of
from tests.convert.embed.conftest import FIXTURES
from tests.convert.embed.sentences import SENTENCES
from tests.convert.embed.small_encoders import CASES, TEXTS

ONE = SessionOptions(threads=1)
Converted = Callable[[str, str], Path]


@pytest.mark.parametrize("name", CASES)
def test_float32_equals_transformers(name: str, converted: Converted, expected: Mapping[str, Any]) -> None:
    embedder = Embedder(converted(name, "fp32"), ONE)
    assert embedder.dimension == expected[name].shape[1]
    np.testing.assert_allclose(embedder.embed(TEXTS), expected[name], atol=5e-6, rtol=5e-6)


@pytest.mark.parametrize("precision", ["int8", "fp16"])
@pytest.mark.parametrize("name", CASES)
def test_other_precisions_are_near(
    name: str, precision: str, converted: Converted, expected: Mapping[str, Any]
) -> None:
    ours, theirs = Embedder(converted(name, precision), ONE).embed(TEXTS), expected[name]
    cosines = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    assert cosines.min() > (0.98 if precision == "int8" else 0.9999)
    assert not np.array_equal(ours, theirs)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_vector_does_not_depend_on_its_batch(precision: str, converted: Converted) -> None:
    embedder = Embedder(converted("mpnet", precision), ONE)
    ids = embedder.tokenize(TEXTS).ids
    alone = np.concatenate([embedder.vectors([row]) for row in ids])
    np.testing.assert_allclose(embedder.vectors(ids), alone, atol=1e-6 if precision == "fp32" else 1e-5, rtol=0)


def test_mpnet_buckets_are_near_exactly_and_far_by_logarithm() -> None:
    offsets = np.array([-200, -128, -8, -7, -1, 0, 1, 7, 8, 127, 128, 200])
    assert bucket_of(offsets, 32).tolist() == [15, 15, 8, 7, 1, 0, 17, 23, 24, 31, 31, 31]


def test_minilm_in_float32_and_int8(minilm: Path, tmp_path: Path) -> None:
    assert main(["embed", str(minilm), "--precision", "fp32,int8", "--name", "m", "--out", str(tmp_path)]) == 0
    theirs = np.load(FIXTURES / "all_minilm_l6_v2.npy")
    ours = Embedder(tmp_path / "m-fp32").embed(SENTENCES)
    assert np.abs(ours - theirs).max() <= 1e-4
    bytes_of = {name: (tmp_path / name / "model.onnx").stat().st_size for name in ("m-fp32", "m-int8")}
    assert bytes_of["m-int8"] <= 0.27 * bytes_of["m-fp32"]
    # The gates on 200 sentences (0.985, 0.96, 0.95) have passed, or `main` would have failed.
    cosines = (Embedder(tmp_path / "m-int8").embed(SENTENCES) * theirs).sum(1)
    assert cosines.min() >= 0.96
