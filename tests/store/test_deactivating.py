"""A model of which no version is active."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.errors import ModelNotFoundError
from tests.store.material import gguf, report, small_store


def test_no_version_is_active_until_one_is_chosen_again(tmp_path: Path) -> None:
    store = small_store(tmp_path / "models")
    for seed, version in enumerate(["1", "2"]):
        store.import_gguf(gguf(tmp_path / "m.gguf", seed=seed), "m", version, report())
    store.activate("m", "2")
    for _ in range(2):
        store.deactivate("m")
        assert [model.active for model in store.models()] == [False, False]
    with pytest.raises(ModelNotFoundError, match="No version of m is active"):
        store.active("m")
    assert store.activate("m", "1").active
    assert store.previous_version("m") is None


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError):
        small_store(tmp_path / "models").deactivate("m")
