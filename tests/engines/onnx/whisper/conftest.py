"""One tiny artifact per precision for all tests here."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.engines.onnx.session import SessionOptions
from agent.engines.onnx.whisper.model import WhisperModel
from tests.engines.onnx.whisper.tiny import write_artifact

OPTIONS = SessionOptions(threads=1)


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders by precision."""
    folder = tmp_path_factory.mktemp("whisper")
    return {precision: write_artifact(folder, precision) for precision in ("fp32", "fp16", "int8")}


@pytest.fixture(scope="session")
def models(artifacts: dict[str, Path]) -> dict[str, WhisperModel]:
    """The same model, open in each precision."""
    return {precision: WhisperModel(folder, OPTIONS) for precision, folder in artifacts.items()}
