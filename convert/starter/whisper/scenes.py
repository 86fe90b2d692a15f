"""A window of sound and what is said in it: one sentence or several, in a room, with noise; or nothing at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from convert.starter.whisper import acoustics
from convert.starter.whisper.acoustics import RATE_HZ, Signal

SILENT_SHARE: Final = 0.08
"""Of the windows: silence, or noise alone, of which nothing is to be written."""
ROOM_SHARE: Final = 0.3
BAND_SHARE: Final = 0.2
SPEED_SHARE: Final = 0.6
SHORT_WINDOW_S: Final = 12
_TRIES: Final = 8


@dataclass(frozen=True)
class Said:
    """In seconds from the start of the window."""

    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True)
class Scene:
    audio: Signal
    said: tuple[Said, ...]


class Utterances(Protocol):
    """`bank.Bank`."""

    texts: list[str]

    def samples(self, place: int) -> Signal: ...


def draw_scene(
    bank: Utterances, window_s: int, rng: np.random.Generator, *, easy: bool = False, equalized_share: float = 0.0
) -> Scene:
    """`easy` is one clear sentence. A window of `window_s` seconds otherwise has anything in it; `equalized_share` of
    them with another balance of low and high."""
    count = window_s * RATE_HZ
    if rng.random() < SILENT_SHARE:
        return Scene(nothing(count, rng), ())
    audio, said = _spoken(bank, window_s, rng, easy)
    audio = (audio * 10 ** rng.uniform(-1.4, 0.3)).astype(np.float32)
    if equalized_share and rng.random() < equalized_share:
        audio = acoustics.equalized(audio, rng)
    if not easy:
        if rng.random() < ROOM_SHARE:
            audio = acoustics.through(audio, acoustics.room(rng))
        audio = _disturbed(audio, rng)
        if rng.random() < BAND_SHARE:
            audio = acoustics.band_limited(audio, *acoustics.BANDS_HZ[int(rng.integers(len(acoustics.BANDS_HZ)))])
    else:
        audio = acoustics.with_noise(audio, acoustics.noise("white", count, rng), rng.uniform(30, 45))
    return Scene(np.clip(audio, -1, 1).astype(np.float32), tuple(said))


def nothing(count: int, rng: np.random.Generator) -> Signal:
    """Digital silence, a soft hiss, or any noise at any level."""
    if rng.random() < 0.15:
        return np.zeros(count, np.float32)
    kinds = rng.choice(acoustics.NOISES, int(rng.integers(1, 3)), replace=False)
    mixed = sum((acoustics.noise(str(kind), count, rng) * rng.uniform(0.2, 1) for kind in kinds), np.zeros(count))
    return np.clip(mixed * 10 ** rng.uniform(-4, -0.7), -1, 1).astype(np.float32)


def _spoken(bank: Utterances, window_s: int, rng: np.random.Generator, easy: bool) -> tuple[Signal, Sequence[Said]]:
    count = window_s * RATE_HZ
    audio = np.zeros(count, np.float32)
    said: list[Said] = []
    at = int(rng.uniform(0, 0.7) * RATE_HZ)
    stop_chance = 1.0 if easy else 0.5 if window_s < SHORT_WINDOW_S else 0.15
    for _ in range(_TRIES if not easy else 64):
        place = int(rng.integers(len(bank.texts)))
        samples = bank.samples(place)
        if rng.random() < SPEED_SHARE:
            samples = acoustics.stretched(samples, rng.uniform(0.82, 1.2))
        if at + len(samples) > count:
            if said:
                break
            if len(samples) > count:
                continue
            at = int(rng.uniform(0, count - len(samples)))
        end = at + len(samples)
        audio[at:end] += samples * (1.0 if not said else 10 ** rng.uniform(-0.3, 0.1))
        said.append(Said(at / RATE_HZ, end / RATE_HZ, bank.texts[place]))
        at = end + int(rng.uniform(0.15, 1.5) * RATE_HZ)
        if rng.random() < stop_chance:
            break
    return audio, said


def _disturbed(audio: Signal, rng: np.random.Generator) -> Signal:
    """A hiss always, and in a third of the windows another noise, at a ratio of 3 to 40 dB."""
    kind = "white" if rng.random() < 0.4 else "pink"
    audio = acoustics.with_noise(audio, acoustics.noise(kind, len(audio), rng), rng.uniform(8, 45))
    if rng.random() < 0.35:
        other = str(rng.choice(acoustics.NOISES))
        audio = acoustics.with_noise(audio, acoustics.noise(other, len(audio), rng), rng.uniform(3, 30))
    return audio
