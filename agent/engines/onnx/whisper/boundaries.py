"""Where words begin and end: the attention says roughly, pauses in the sound exactly.

openai/whisper's path through the attention (`alignment.py`) is off by hundreds of milliseconds wherever a head looks
ahead, and knows of no pause: a word lasts until the next begins. Here the words are laid over the audio so that, in
sum, they lie where their tokens attend to, begin and end where the sound is low, last about as long as their letters
let expect, and leave out nothing but silence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from agent.engines.onnx.whisper.mel_filters import SAMPLE_RATE_HZ

Floats = npt.NDArray[np.float64]
Span = tuple[int, int]

POSITION_SAMPLES: Final = SAMPLE_RATE_HZ // 50
"""One position of the encoder: 20 ms."""
LONGEST_WORD: Final = 150
"""In positions: 3 s."""

# Weights of what counts, found on spoken words with known times; they may be off by a factor of two without harm.
_ATTENTION: Final = 0.02
_DURATION: Final = 0.5
_BOUNDARY: Final = 1.0
_LEFT_OUT: Final = 0.1

_SPEECH: Final = 0.3
"""Of the range between the quiet and the loud parts, in decibels: below it is a pause."""
_LEAST_RANGE_DB: Final = 12.0
"""Audio without pauses has no lower range than this, or noise would count as a voice that comes and goes."""


def loudness(audio: npt.NDArray[np.float32], positions: int) -> Floats:
    """0 (as quiet as it gets) to 1 (loud) around each of `positions` + 1 boundaries between positions of 20 ms.

    Of differences between samples, so that hum counts little and consonants count.
    """
    power = np.square(np.diff(audio.astype(np.float64), prepend=0.0))
    total = np.concatenate(([0.0], np.cumsum(power)))
    middles = np.arange(positions + 1) * POSITION_SAMPLES
    first = np.clip(middles - POSITION_SAMPLES // 2, 0, len(audio))
    end = np.clip(middles + POSITION_SAMPLES // 2, 0, len(audio))
    level_db = 10 * np.log10((total[end] - total[first]) / np.maximum(end - first, 1) + 1e-10)
    low_db, high_db = np.quantile(level_db, (0.05, 0.95))
    return np.asarray(np.clip((level_db - low_db) / max(high_db - low_db, _LEAST_RANGE_DB), 0, 1), dtype=np.float64)


def word_spans(matrix: npt.NDArray[np.float32], letters: Sequence[int], loud: Floats) -> list[Span]:
    """First and end position of each word, in order, not overlapping.

    `matrix` [words, positions] is how much each word attends to a position, normalized over the words (about -1..5);
    `letters` of each word are at least 1; `loud` is [positions + 1].
    """
    words, positions = matrix.shape
    if words > positions:
        return [(positions * index // words, positions * (index + 1) // words) for index in range(words)]
    # Speech up to each boundary, and what it costs to leave the audio up to there out.
    spoken = np.concatenate(([0], np.cumsum(loud[:-1] > _SPEECH)))
    skipped = np.concatenate(([0.0], np.cumsum(_LEFT_OUT * loud[:-1])))
    expected = np.asarray(letters) / sum(letters) * spoken[-1]
    longest = min(positions, LONGEST_WORD + 2 * positions // words)
    ends = np.full(positions + 1, np.inf)
    ends[0] = 0.0
    edge = 0.5 * _BOUNDARY * loud
    begun: list[npt.NDArray[np.int64]] = []  # for a word that ends at a boundary, where it begins
    left: list[npt.NDArray[np.int64]] = []  # for a word that begins at a boundary, where the one before ended
    for word in range(words):
        starts, came = _after_pause(ends, skipped)
        left.append(came)
        heard = _ATTENTION * np.concatenate(([0.0], np.cumsum(matrix[word], dtype=np.float64)))
        before = _windows(starts + heard + edge, longest, np.inf)
        durations = spoken[1:, None] - _windows(spoken.astype(np.float64), longest, 0.0)
        prior = _DURATION * np.square(np.log((np.arange(positions + 2) + 1) / (expected[word] + 1)))
        costs = before + prior[np.clip(durations, 0, positions).astype(np.int64)]
        best = costs.argmin(axis=1)
        ends = np.concatenate(([np.inf], costs[np.arange(positions), best] - heard[1:] + edge[1:]))
        begun.append(np.concatenate(([0], np.arange(1, positions + 1) - longest + best)))
    boundary = int((ends - skipped).argmin())
    spans = []
    for word in range(words - 1, -1, -1):
        start = int(begun[word][boundary])
        spans.append(_without_pauses(start, boundary, loud))
        boundary = int(left[word][start])
    return spans[::-1]


def _after_pause(ends: Floats, skipped: Floats) -> tuple[Floats, npt.NDArray[np.int64]]:
    """The cost of beginning a word at each boundary, and where the one before ended: there, or before a pause."""
    relative = ends - skipped
    lowest = np.minimum.accumulate(relative)
    came = np.maximum.accumulate(np.where(relative == lowest, np.arange(len(ends)), 0))
    return lowest + skipped, came


def _windows(values: Floats, longest: int, outside: float) -> Floats:
    """Row e - 1: the `longest` values before boundary e, for e from 1."""
    padded = np.concatenate((np.full(longest - 1, outside), values[:-1]))
    return np.lib.stride_tricks.sliding_window_view(padded, longest)


def _without_pauses(start: int, end: int, loud: Floats) -> Span:
    """The span without the quiet at its ends; all of it where nothing is loud."""
    sounding = np.flatnonzero(loud[start:end] > _SPEECH)
    return (start + int(sounding[0]), start + int(sounding[-1]) + 1) if len(sounding) else (start, end)
