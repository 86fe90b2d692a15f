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

from convert.starter.whisper.acoustics import Signal
from convert.starter.whisper.sentences import MORE_DIGITS_SHARE, PATTERNS, WORDS, training_sentence
from convert.starter.whisper.synthesis import RATE_HZ, Speech, speak
from convert.starter.whisper.synthesizers.sound import SILENCE
from convert.starter.whisper.voices import LIFELIKE, VARIANTS, draw_voice

PART: Final = 500
"""Utterances of a file."""
LONGEST_S: Final = 7.0

Progress = Callable[[int, int], None]


def spoken_sentence(seed: int, place: int, kept_out: frozenset[str]) -> tuple[str, Speech] | None:
    """Utterance number `place` of the seed; None where it is empty or longer than `LONGEST_S`."""
    rng = random.Random(f"utterance {seed} {place}")
    text = training_sentence(rng, kept_out)
    speech = speak(text, draw_voice(rng))
    return None if speech is None or len(speech.samples) > LONGEST_S * RATE_HZ else (text, speech)


def fill_bank(
    folder: Path, count: int, seed: int, kept_out: frozenset[str], progress: Progress, *, workers: int = 2
) -> None:
    """Speak `count` sentences into `folder`, in files of `PART`; files that are there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, count, PART):
            path = folder / f"{start:06d}.npz"
            places = range(start, min(start + PART, count))
            if not path.is_file():
                made = pool.map(lambda place: spoken_sentence(seed, place, kept_out), places)
                _write(path, [one for one in made if one is not None])
            progress(places.stop, count)


def _write(path: Path, spoken: list[tuple[str, Speech]]) -> None:
    phones = [phone for _, speech in spoken for phone in speech.phones]
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez(
            file,
            audio=np.concatenate([speech.samples for _, speech in spoken]),
            ends=np.cumsum([len(speech.samples) for _, speech in spoken]),
            text=np.array([text for text, _ in spoken]),
            phone=np.array([name for name, _ in phones]),
            phone_start=np.array([start for _, start in phones], np.int32),
            phone_ends=np.cumsum([len(speech.phones) for _, speech in spoken]),
        )
    os.replace(part, path)  # noqa: PTH105


def language_id(kept_out: frozenset[str]) -> str:
    """Another one where other sentences or voices would be spoken."""
    said = [*PATTERNS, str(MORE_DIGITS_SHARE), *sorted(WORDS), *sorted(kept_out), *VARIANTS, *map("/".join, LIFELIKE)]
    return hashlib.sha256("\n".join(said).encode()).hexdigest()[:8]


class Bank:
    """Utterances by number. `phone_names` are all that occur, silence first."""

    def __init__(self, folder: Path) -> None:
        parts = [np.load(path) for path in sorted(folder.glob("*.npz"))]
        self._audio = np.concatenate([part["audio"] for part in parts])
        self._ends = _joined([part["ends"] for part in parts])
        self._phone_starts = np.concatenate([part["phone_start"] for part in parts])
        self._phone_ends = _joined([part["phone_ends"] for part in parts])
        names = np.concatenate([part["phone"] for part in parts])
        self.phone_names = [SILENCE, *sorted(set(names.tolist()) - {SILENCE})]
        numbers = {name: number for number, name in enumerate(self.phone_names)}
        self._phones = np.array([numbers[name] for name in names.tolist()], np.int64)
        self.texts = [str(text) for part in parts for text in part["text"]]

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def hours(self) -> float:
        return len(self._audio) / RATE_HZ / 3600

    def samples(self, place: int) -> Signal:
        """In -1..1."""
        return np.divide(self._audio[_range(self._ends, place)], 32768, dtype=np.float32)

    def phones(self, place: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
        """Places in `phone_names`, and the samples at which they begin."""
        found = _range(self._phone_ends, place)
        return self._phones[found], self._phone_starts[found]


def _joined(ends: list[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    """Each part's ends are counted from its own start."""
    starts = np.cumsum([0, *(part[-1] for part in ends)])
    return np.concatenate([part + start for part, start in zip(ends, starts, strict=False)])


def _range(ends: npt.NDArray[np.int64], place: int) -> slice:
    return slice(int(ends[place - 1]) if place else 0, int(ends[place]))
