"""What several folders of tests need: models that the project makes itself, and the shared ones where they exist."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from benchmarks.models import shapes

# A shell starts what it puts in the background with SIGINT ignored, and so would our children be: then a test of Ctrl-C
# would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture(scope="session")
def model_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def tiny_model(model_cache: Path) -> Path:
    """A generation model of random weights, with a byte-level vocabulary and a chat template."""
    return shapes.ensure("tiny", "F32", model_cache)


@pytest.fixture(scope="session")
def embedding_model(model_cache: Path) -> Path:
    """A BERT encoder of random weights with mean pooling."""
    return shapes.ensure("bert-tiny", "F32", model_cache)


@pytest.fixture(scope="session")
def stories_model() -> Path:
    """A trained model of 260k parameters that tells stories; skips where the material is not at hand."""
    path = SHARED / "models" / "stories260k-f32.gguf"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return path
