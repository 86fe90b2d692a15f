"""A shelf in a temporary folder, and an empty collection on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.search.collection import Collection
from agent.search.shelf import Shelf
from tests.search.made_up import MODEL


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "collections")


@pytest.fixture
def collection(shelf: Shelf) -> Iterator[Collection]:
    made = shelf.create("facts", MODEL, ["text"])
    yield made
    made.close()
