"""The committed expectations are what transformers computes today."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.convert.embed.sentences import SENTENCES
from tests.convert.embed.small_encoders import CASES

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytestmark = pytest.mark.torch

FIXTURES = Path(__file__).with_name("fixtures")


@pytest.mark.parametrize("name", CASES)
def test_vectors_of_the_small_encoders_are_transformers(name: str, tmp_path: Path) -> None:
    from tests.convert.embed.make_fixtures import small

    with np.load(FIXTURES / "small_encoders.npz") as stored:
        np.testing.assert_allclose(stored[name], small(CASES[name], tmp_path / name).numpy(), atol=1e-5)


def test_vectors_of_all_minilm_are_transformers(minilm: Path) -> None:
    from tests.convert.embed.make_fixtures import minilm as compute

    stored = np.load(FIXTURES / "all_minilm_l6_v2.npy")
    assert len(stored) == len(SENTENCES)
    np.testing.assert_allclose(stored, compute(minilm).numpy(), atol=1e-5)
