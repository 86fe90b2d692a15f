"""The committed expectations are what transformers computes today."""

from __future__ import annotations

import numpy as np
import pytest

from tests.convert.whisper.small_whisper import FIXTURE

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytestmark = pytest.mark.torch


def test_logits_and_attention_of_the_small_models_are_transformers() -> None:
    from tests.convert.whisper.make_fixtures import small

    made = small()
    with np.load(FIXTURE) as stored:
        assert set(stored.files) == set(made)
        for name, values in made.items():
            np.testing.assert_allclose(stored[name], values, atol=1e-4, err_msg=name)
