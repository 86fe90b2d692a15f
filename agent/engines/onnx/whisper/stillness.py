"""Audio that cannot be speech: silence, and sound that never changes. Whisper makes up words for both."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from agent.engines.onnx.whisper.mel_filters import SAMPLE_RATE_HZ

SILENT_RMS: Final = 3e-4
"""-70 dB of full scale, ten steps of 16-bit audio: nobody can hear what is in there."""
STEADY_DB: Final = 3.0
"""The loudest 50 ms of white noise are 1 dB above the quietest. Speech changes by 20 dB and more; by so little only
where the noise around it is five times as strong as the voice."""
STEADY_LEAST_S: Final = 0.5
"""Something shorter may be a single vowel."""

_BLOCK_SAMPLES: Final = SAMPLE_RATE_HZ // 20


def is_still(audio: npt.NDArray[np.float32]) -> bool:
    """Whether 16 kHz audio, float32 [samples], is silent or steady throughout, in blocks of 50 ms."""
    loudest = _powers(audio).max()
    if loudest <= SILENT_RMS**2:
        return True
    if audio.size < STEADY_LEAST_S * SAMPLE_RATE_HZ:
        return False
    # Of differences between samples: the slow swing of a rumble is no change, a voice above it is one.
    powers = _powers(np.diff(audio))
    return bool(powers.max() <= powers.min() * 10 ** (STEADY_DB / 10))


def _powers(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """The mean square of each block, float64 [blocks], at least one; a rest shorter than a block counts to the last."""
    blocks = np.array_split(samples, max(1, samples.size // _BLOCK_SAMPLES))
    return np.array([float(np.mean(np.square(block))) if block.size else 0.0 for block in blocks])
