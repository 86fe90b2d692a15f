"""What a synthesizer gives back."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

SILENCE: Final = "-"
"""The phone that all synthesizers share."""
_PAUSES: Final = ("pau", "_", "_:", "_!", "", "||")

Samples = npt.NDArray[np.int16]
Sound = tuple[int, Samples, list[tuple[str, float]]]
"""Rate in hertz, samples, and phones with the second at which each begins."""


def phone_name(alphabet: str, phone: str) -> str:
    """`alphabet/phone`: those of two alphabets do not mean the same by the same letters."""
    return SILENCE if phone in _PAUSES else f"{alphabet}/{phone}"
