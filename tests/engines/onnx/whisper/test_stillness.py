"""What cannot be speech."""

from __future__ import annotations

import numpy as np
import pytest

from agent.engines.onnx.whisper.stillness import is_still
from tests.engines.onnx.whisper.made_audio import glide

RANDOM = np.random.default_rng(0)
TIME_S = np.arange(32_000) / 16_000


def noise(level: float, samples: int = 32_000) -> np.ndarray:
    return np.random.default_rng(1).normal(0, level, samples).astype(np.float32)


@pytest.mark.parametrize(
    ("audio", "still"),
    [
        (np.zeros(1), True),
        (np.zeros(32_000), True),
        (noise(1e-4), True),
        (noise(1e-3), True),
        (noise(0.3), True),
        (np.cumsum(noise(0.001)), True),  # a rumble
        (0.2 * np.sin(2 * np.pi * 50 * TIME_S), True),  # hum
        (glide(32_000), False),
        (glide(32_000) * 0.003, False),  # quiet
        (glide(32_000) + noise(0.01), False),
        (noise(0.3, 4_000), False),  # too short to tell
        (np.concatenate([np.zeros(16_000), noise(0.1, 800)]), False),
    ],
)
def test_still(audio: np.ndarray, still: bool) -> None:
    assert is_still(audio.astype(np.float32)) == still
