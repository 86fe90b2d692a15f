"""What several tests of engines share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.grammar_checker import GrammarChecker


@pytest.fixture(scope="session")
def judge(tiny_model: Path) -> Iterator[GrammarChecker]:
    checker = GrammarChecker(tiny_model)
    yield checker
    checker.close()
