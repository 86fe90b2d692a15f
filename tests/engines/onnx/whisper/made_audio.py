"""Audio that is the same on every machine: harmonics that glide, a click, silence, and a tone that fades."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

RATE_HZ = 16_000


def glide(samples: int) -> npt.NDArray[np.float32]:
    """float32 [samples] at 16 kHz: loud and quiet bands side by side, silence in the middle, a click near the end."""
    time_s = np.arange(samples) / RATE_HZ
    pitch_hz = 110 + 60 * np.sin(2 * np.pi * 1.5 * time_s)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ
    voice = sum(np.sin(k * phase) / k**1.5 for k in range(1, 30))
    audio = 0.2 * np.asarray(voice) + 1e-4 * np.sin(2 * np.pi * 6_500 * time_s)
    audio[samples // 3 : samples // 2] = 0.0
    audio[-samples // 10] += 0.7
    return audio.astype(np.float32)
