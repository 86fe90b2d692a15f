"""All that was spoken, kept on disk: making it takes minutes, and a run that goes on must hear the same."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from convert.starter.whisper.sentences import PATTERNS, WORDS, training_sentence
from convert.starter.whisper.voices import RATE_HZ, Samples, draw_voice, in_range, speak

PART: Final = 500
"""Utterances of a file."""
LONGEST_S: Final = 7.0

Progress = Callable[[int, int], None]


def spoken_sentence(
    seed: int, place: int, kept_out: frozenset[str], *, more: bool = False
) -> tuple[str, Samples] | None:
    """Utterance number `place` of the seed, in one of `more` voices or not; None where it is empty or longer than
    `LONGEST_S`."""
    rng = random.Random(f"{'more ' if more else ''}utterance {seed} {place}")
    text = training_sentence(rng, kept_out)
    samples = speak(text, draw_voice(rng, more=more))
    return None if samples is None or len(samples) > LONGEST_S * RATE_HZ else (text, samples)


def fill_bank(
    folder: Path,
    count: int,
    seed: int,
    kept_out: frozenset[str],
    progress: Progress,
    *,
    more: bool = False,
    workers: int = 2,
) -> None:
    """Speak `count` sentences into `folder`, in files of `PART`; files that are there stay. `more` as in
    `draw_voice`."""
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, count, PART):
            path = folder / f"{start:06d}.npz"
            places = range(start, min(start + PART, count))
            if not path.is_file():
                made = pool.map(lambda place: spoken_sentence(seed, place, kept_out, more=more), places)
                kept = [one for one in made if one is not None]
                part = path.with_suffix(".part")
                with part.open("wb") as file:
                    np.savez(
                        file,
                        audio=np.concatenate([samples for _, samples in kept]),
                        ends=np.cumsum([len(samples) for _, samples in kept]),
                        text=np.array([text for text, _ in kept]),
                    )
                os.replace(part, path)  # noqa: PTH105
            progress(places.stop, count)


def language_id(kept_out: frozenset[str]) -> str:
    """Another one where another language would be spoken."""
    return hashlib.sha256("\n".join([*PATTERNS, *sorted(WORDS), *sorted(kept_out)]).encode()).hexdigest()[:8]


class Bank:
    """Utterances by number."""

    def __init__(self, folder: Path) -> None:
        parts = [np.load(path) for path in sorted(folder.glob("*.npz"))]
        self._audio = np.concatenate([part["audio"] for part in parts])
        starts = np.cumsum([0, *(len(part["audio"]) for part in parts)])[:-1]
        self._ends = np.concatenate([part["ends"] + start for part, start in zip(parts, starts, strict=True)])
        self.texts = [str(text) for part in parts for text in part["text"]]

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def hours(self) -> float:
        return len(self._audio) / RATE_HZ / 3600

    def samples(self, place: int) -> npt.NDArray[np.float32]:
        """In -1..1."""
        start = int(self._ends[place - 1]) if place else 0
        return in_range(self._audio[start : int(self._ends[place])])
