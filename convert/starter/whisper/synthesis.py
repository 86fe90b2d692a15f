"""Speech, and which phone of it is where.

A synthesizer knows when it says which phone. A recognizer that is told as much learns in minutes what it would have to
find out for itself from sentences alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import soxr

from agent.errors import UnavailableError
from convert.starter.whisper.synthesizers import espeak, festival, flite
from convert.starter.whisper.synthesizers.sound import Samples, Sound
from convert.starter.whisper.voices import Program, Voice

RATE_HZ: Final = 16_000
LOUD: Final = 0.01
"""Of full scale: what is softer at the ends is silence."""
MARGIN_SAMPLES: Final = 160
LIMIT_S: Final = 20.0
_SAY: Final[Mapping[Program, Callable[[str, str, float, float], Sound]]] = {
    "espeak-ng": espeak.say,
    "flite": flite.say,
    "festival": festival.say,
}


@dataclass(frozen=True)
class Speech:
    """16-bit samples at 16 kHz, and the phones in their order, each with the sample at which it begins."""

    samples: Samples
    phones: tuple[tuple[str, int], ...]


def check_programs() -> None:
    """Raises `UnavailableError` where a synthesizer or a voice of it is missing."""
    missing = [] if espeak.is_installed() else [espeak.PROGRAM]
    missing += [] if shutil.which(flite.PROGRAM) else [flite.PROGRAM]
    missing += festival.missing_packages()
    if missing:
        raise UnavailableError(
            f"{', '.join(missing)} cannot be found, which speak the training's sentences.",
            hint=f"sudo apt-get install {' '.join(missing)}",
        )


def speak(text: str, voice: Voice) -> Speech | None:
    """Without the silence at both ends, at one loudness for all; None where nothing was said, or for too long."""
    rate_hz, samples, phones = _SAY[voice.program](text, voice.name, voice.rate, voice.pitch)
    if not len(samples):
        return None
    resampled = soxr.resample(np.divide(samples, 32768, dtype=np.float32), rate_hz, RATE_HZ)
    loud = np.flatnonzero(np.abs(resampled) > LOUD)
    if not len(loud) or len(resampled) > LIMIT_S * RATE_HZ:
        return None
    first = max(0, loud[0] - MARGIN_SAMPLES)
    kept = resampled[first : loud[-1] + MARGIN_SAMPLES]
    leveled: Samples = (kept / np.abs(kept).max() * 20_000).astype(np.int16)
    starts = [(name, max(0, round(begins_s * RATE_HZ) - int(first))) for name, begins_s in phones]
    return Speech(leveled, tuple((name, start) for name, start in starts if start < len(leveled)))
