"""Utterances without a synthesizer: each word is a tone of its own, 0.15 s long."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from convert.starter.whisper.acoustics import RATE_HZ, Signal

WORD_S = 0.15
WORDS = {"red": 300, "green": 500, "blue": 800, "one": 1200, "two": 1800, "three": 2600}


class Tones:
    """In place of `bank.Bank`."""

    def __init__(self) -> None:
        names = list(WORDS)
        self.phone_names = ["-", *(f"tones/{name}" for name in names)]
        self.texts = [f"{a} {b}" for a in names for b in names if a != b]

    def samples(self, place: int) -> Signal:
        seconds = np.arange(int(WORD_S * RATE_HZ)) / RATE_HZ
        envelope = np.hanning(len(seconds))
        tones = [0.4 * envelope * np.sin(2 * np.pi * WORDS[word] * seconds) for word in self.texts[place].split()]
        return np.concatenate(tones).astype(np.float32)

    def phones(self, place: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
        words = self.texts[place].split()
        starts = np.arange(len(words)) * int(WORD_S * RATE_HZ)
        return np.array([self.phone_names.index(f"tones/{word}") for word in words]), starts.astype(np.int32)
