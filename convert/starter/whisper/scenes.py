"""A window of sound and what is said in it: one sentence or several, in a room, with noise; or nothing at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from convert.starter.whisper import acoustics
from convert.starter.whisper.acoustics import RATE_HZ, Signal
from convert.starter.whisper.phones import POSITION_SAMPLES, Labels, write_phones

SILENT_SHARE: Final = 0.22
"""Of the windows: silence, or noise alone, of which nothing is to be written. With 0.1 it heard words in 3 of 60."""
PADDED_SHARE: Final = 0.5
"""Of the windows: what was recorded is shorter, and zeros follow it, as an engine pads it. Who has heard noise only
where it fills the window finds words where it stops."""
SPEED_SHARE: Final = 0.6
SHORT_WINDOW_S: Final = 12
STOP_CHANCE: Final = 0.2
"""After a sentence, where another may fit: what is empty takes as long to learn from as what is spoken."""
LONG_STOP_CHANCE: Final = 0.1
GAP_S: Final = (0.15, 0.8)
_TRIES: Final = 12


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """How unlike a clear voice nearby it sounds: shares of the windows that are as another vocal tract would have them
    (vocal tract length perturbation), with another balance of low and high, in a room, through a narrow band, and with
    a second noise; and the least ratio of the voice to the hiss and to that noise, in dB. Of `masked_share` the trainer
    hides some frequencies and a moment (SpecAugment: Park et al., 2019).
    """

    warped_share: float = 0.5
    equalized_share: float = 0.8
    room_share: float = 0.3
    band_share: float = 0.2
    noise_share: float = 0.35
    hiss_db: float = 8.0
    noise_db: float = 3.0
    masked_share: float = 0.3


HARSH: Final = Conditions()
MILD: Final = Conditions(
    warped_share=0.3,
    equalized_share=0.6,
    band_share=0.05,
    noise_share=0.2,
    hiss_db=12.0,
    noise_db=8.0,
    masked_share=0.0,
)
"""As most devices will have it."""


@dataclass(frozen=True)
class Said:
    """In seconds from the start of the window."""

    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True)
class Scene:
    """`phones`: for each 20 ms which of the bank's phones is said, 0 for none."""

    audio: Signal
    said: tuple[Said, ...]
    phones: Labels


class Utterances(Protocol):
    """`bank.Bank`."""

    texts: list[str]

    phone_names: list[str]

    def samples(self, place: int) -> Signal: ...

    def phones(self, place: int) -> tuple[Labels, npt.NDArray[np.int32]]: ...


def draw_scene(bank: Utterances, window_s: int, rng: np.random.Generator, conditions: Conditions | None) -> Scene:
    """A window of `window_s` seconds with anything in it; without `conditions` one clear sentence at most."""
    count = window_s * RATE_HZ
    if rng.random() < SILENT_SHARE:
        audio = _padded(nothing(count, rng), RATE_HZ, rng)
        return Scene(audio, (), np.zeros(count // POSITION_SAMPLES, np.int64))
    audio, said, labels = _spoken(bank, window_s, rng, easy=conditions is None)
    audio = (audio * 10 ** rng.uniform(-1.4, 0.3)).astype(np.float32)
    if conditions is None:
        audio = acoustics.with_noise(audio, acoustics.noise("white", count, rng), rng.uniform(30, 45))
    else:
        audio = _recorded(audio, conditions, rng)
    audio = _padded(np.clip(audio, -1, 1).astype(np.float32), int(said[-1].end_s * RATE_HZ), rng)
    return Scene(audio, tuple(said), labels)


def nothing(count: int, rng: np.random.Generator) -> Signal:
    """Digital silence, a soft hiss, or any noise at any level."""
    if rng.random() < 0.15:
        return np.zeros(count, np.float32)
    kinds = rng.choice(acoustics.NOISES, int(rng.integers(1, 3)), replace=False)
    mixed = sum((acoustics.noise(str(kind), count, rng) * rng.uniform(0.2, 1) for kind in kinds), np.zeros(count))
    return np.clip(mixed * 10 ** rng.uniform(-4, -0.7), -1, 1).astype(np.float32)


def _padded(audio: Signal, least: int, rng: np.random.Generator) -> Signal:
    """Some of the windows end after `least` samples or later, sooner more often: zeros from there on."""
    if rng.random() < PADDED_SHARE:
        audio[least + int((len(audio) - least) * rng.random() ** 2) :] = 0
    return audio


def _spoken(
    bank: Utterances, window_s: int, rng: np.random.Generator, easy: bool
) -> tuple[Signal, Sequence[Said], Labels]:
    count = window_s * RATE_HZ
    audio = np.zeros(count, np.float32)
    labels = np.zeros(count // POSITION_SAMPLES, np.int64)
    said: list[Said] = []
    at = int(rng.uniform(0, 0.7) * RATE_HZ)
    stop_chance = 1.0 if easy else STOP_CHANCE if window_s < SHORT_WINDOW_S else LONG_STOP_CHANCE
    for _ in range(_TRIES if not easy else 64):
        place = int(rng.integers(len(bank.texts)))
        samples = bank.samples(place)
        factor = rng.uniform(0.82, 1.2) if rng.random() < SPEED_SHARE else 1.0
        if factor != 1:
            samples = acoustics.stretched(samples, factor)
        if at + len(samples) > count:
            if said or len(samples) > count:
                continue
            at = int(rng.uniform(0, count - len(samples)))
        end = at + len(samples)
        audio[at:end] += samples * (1.0 if not said else 10 ** rng.uniform(-0.3, 0.1))
        sounds, starts = bank.phones(place)
        write_phones(labels, at, len(samples), sounds, (starts * factor).astype(np.int64))
        said.append(Said(at / RATE_HZ, end / RATE_HZ, bank.texts[place]))
        at = end + int(rng.uniform(*GAP_S) * RATE_HZ)
        if rng.random() < stop_chance:
            break
    return audio, said, labels


def _recorded(audio: Signal, conditions: Conditions, rng: np.random.Generator) -> Signal:
    """In another voice, a room, noise and a cheap microphone: each in some of the windows, but a hiss in all."""
    if rng.random() < conditions.equalized_share:
        audio = acoustics.equalized(audio, rng)
    if rng.random() < conditions.room_share:
        audio = acoustics.through(audio, acoustics.room(rng))
    kind = "white" if rng.random() < 0.4 else "pink"
    audio = acoustics.with_noise(audio, acoustics.noise(kind, len(audio), rng), rng.uniform(conditions.hiss_db, 45))
    if rng.random() < conditions.noise_share:
        other = acoustics.noise(str(rng.choice(acoustics.NOISES)), len(audio), rng)
        audio = acoustics.with_noise(audio, other, rng.uniform(conditions.noise_db, 30))
    if rng.random() < conditions.band_share:
        audio = acoustics.band_limited(audio, *acoustics.BANDS_HZ[int(rng.integers(len(acoustics.BANDS_HZ)))])
    return audio
