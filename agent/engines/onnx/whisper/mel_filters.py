"""The mel filter bank that every Whisper was trained with."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

SAMPLE_RATE_HZ: Final = 16_000
FFT_SAMPLES: Final = 400
FFT_BINS: Final = FFT_SAMPLES // 2 + 1

# The Slaney mel scale (M. Slaney, "Auditory Toolbox", 1998): linear up to 1 kHz, logarithmic above.
_LINEAR_HZ_PER_MEL: Final = 200 / 3
_BREAK_HZ: Final = 1000.0
_BREAK_MEL: Final = _BREAK_HZ / _LINEAR_HZ_PER_MEL
_LOG_STEP: Final = np.log(6.4) / 27


def mel_filters(n_mels: int) -> npt.NDArray[np.float32]:
    """Triangular filters over the power spectrum, float32 [n_mels, 201].

    0 to 8 kHz on the Slaney mel scale, each filter scaled to the same area (Slaney's norm), as in openai/whisper's
    `assets/mel_filters.npz` and transformers' `mel_filter_bank`. Whisper uses 80 filters, large-v3 and its turbo 128.
    """
    top_mel = _BREAK_MEL + np.log(SAMPLE_RATE_HZ / 2 / _BREAK_HZ) / _LOG_STEP
    corners_hz = _hertz(np.linspace(0.0, top_mel, n_mels + 2))
    bins_hz = np.linspace(0.0, SAMPLE_RATE_HZ / 2, FFT_BINS)
    left, middle, right = (corners_hz[i : n_mels + i, None] for i in range(3))
    rising = (bins_hz - left) / (middle - left)
    falling = (right - bins_hz) / (right - middle)
    filters = np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (right - left))
    return filters.astype(np.float32)


def _hertz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    above = _BREAK_HZ * np.exp(_LOG_STEP * (mel - _BREAK_MEL))
    return np.where(mel >= _BREAK_MEL, above, mel * _LINEAR_HZ_PER_MEL)
