"""What is said of the models, from what is served and what lies on the disk."""

from __future__ import annotations

from typing import Any

import pytest

from agent.fleet.announce.models import models_twin
from agent.runtime.snapshot import ModelSnapshot
from agent.store.layout import BrokenVersion, StoredModel
from agent.store.store import Listing
from tests.fleet.announce.scripted import broken, served, stored

FILE = {"format": "gguf", "quantization": "Q4_K_M", "bytes": 10}


def test_updates_are_told_beside_the_models_also_of_one_that_is_not_here_yet() -> None:
    updates = {
        "rev": "7",
        "error": "no",
        "models": {"m": {"update": {"state": "trying"}, "rejected": {"3": "too slow"}}, "n": {"update": {}}},
    }
    twin = models_twin([served("m", "1")], Listing(models=(), broken=()), updates)
    assert (twin["rev"], twin["error"]) == ("7", "no")
    assert twin["models"]["m"]["version"] == "1"
    assert twin["models"]["m"]["rejected"] == {"3": "too slow"}
    assert twin["models"]["n"] == {"state": "absent", "update": {}}
    assert models_twin([], Listing(models=(), broken=())) == {"models": {}}


@pytest.mark.parametrize(
    ("models", "versions", "trouble", "expected"),
    [
        ([], [], [], {}),
        pytest.param(
            [served("s", "1")],
            [],
            [],
            {"s": {"version": "1", "task": "generate", "state": "unloaded"}},
            id="served from elsewhere",
        ),
        pytest.param(
            [served("m", "1", state="ready")],
            [stored("m", "1", active=True, created=5), stored("m", "2", created=9)],
            [],
            {
                "m": {
                    "version": "1",
                    "task": "generate",
                    "state": "ready",
                    "newest": "2",
                    "versions": ["1", "2"],
                    **FILE,
                }
            },
            id="a newer one was imported",
        ),
        pytest.param(
            [served("m", "1", state="failed", reason="it is broken")],
            [stored("m", "1", active=True, created=9), stored("m", "2", created=9)],
            [],
            {
                "m": {
                    "version": "1",
                    "task": "generate",
                    "state": "failed",
                    "reason": "it is broken",
                    "newest": "1",
                    "versions": ["1", "2"],
                    **FILE,
                }
            },
            id="of two that came together the active one is newest",
        ),
        pytest.param(
            [],
            [stored("m", "1")],
            [],
            {"m": {"task": "generate", "state": "inactive", "newest": "1", "versions": ["1"], **FILE}},
            id="on the disk only",
        ),
        pytest.param(
            [],
            [],
            [broken("m", "1", "m.gguf: No such file.")],
            {"m": {"state": "broken", "broken": {"1": "m.gguf: No such file."}}},
            id="broken",
        ),
    ],
)
def test_models(
    models: list[ModelSnapshot],
    versions: list[StoredModel],
    trouble: list[BrokenVersion],
    expected: dict[str, dict[str, Any]],
) -> None:
    assert models_twin(models, Listing(models=tuple(versions), broken=tuple(trouble))) == {"models": expected}
