"""Models and matrices that several tests share; each is made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from convert.quantization.header import read_header
from convert.quantization.imatrix_source import collect_imatrix
from tests.convert.quantization.models import write_model

STORIES = Path(__file__).with_name("stories.txt")
"""What the model of 260k parameters wrote, drawn at temperature 1; not the text that quality is measured on."""


@pytest.fixture(scope="session")
def wide_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("wide") / "wide-f32.gguf", layers=3)


@pytest.fixture(scope="session")
def wide_imatrix(wide_model: Path) -> Path:
    target = wide_model.with_name("imatrix.gguf")
    collect_imatrix(read_header(wide_model), STORIES, target, chunks=4)
    return target


@pytest.fixture(scope="session")
def expert_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("experts") / "experts-f32.gguf", layers=1, experts=4, chosen=2)
