"""What a step of the training hears, by the number of the step: a run that goes on hears what it would have heard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from convert.starter.whisper.acoustics import Signal
from convert.starter.whisper.scenes import HARSH, MILD, Conditions, Scene, Utterances, draw_scene
from convert.starter.whisper.tokens import Form

Windows = Sequence[tuple[int, int, float]]
"""Seconds, windows of a batch, share of the batches."""
PARTS: Final = 2
"""Of a batch, as large as each other: each is drawn and learned by a thread of its own."""
WINDOWS: Final[Windows] = ((4, 24, 0.42), (6, 16, 0.26), (8, 12, 0.12), (10, 10, 0.1), (30, 2, 0.12))
Stages = Sequence[tuple[float, Conditions | None]]
"""Until this share of the training, these conditions; None: the shortest windows, clear, in the voices as they are."""
STAGES: Final[Stages] = ((0.08, None), (0.45, HARSH), (1.0, MILD))
TIMESTAMP_SHARE: Final = 0.1


@dataclass(frozen=True)
class Batch:
    """One part. `audio` is float32 [B, samples]; `warps` int64 [B], places in `model.WARPS`, or None where it is clear;
    `masked_share` as in `Conditions`; `rng` draws what comes after."""

    audio: Signal
    scenes: tuple[Scene, ...]
    forms: tuple[Form, ...]
    warps: npt.NDArray[np.int64] | None
    masked_share: float
    rng: np.random.Generator


class Batches:
    """`warps` is how many there are, and `no_warp` the place of the one that changes nothing."""

    def __init__(
        self, bank: Utterances, seed: int, windows: Windows, stages: Stages, *, warps: int, no_warp: int
    ) -> None:
        self._bank = bank
        self._seed = seed
        self._windows = windows
        self._stages = stages
        self._warps = warps
        self._no_warp = no_warp

    def draw(self, number: int, part: int, share: float) -> Batch:
        """For this share of the training; the same for the same number, part, stage and seed."""
        conditions = next((conditions for until, conditions in self._stages if share < until), self._stages[-1][1])
        window_s, windows = self._drawn_window(number, easy=conditions is None)
        rng = np.random.default_rng((self._seed, number, part))
        size = windows // PARTS
        scenes = tuple(draw_scene(self._bank, window_s, rng, conditions) for _ in range(size))
        warps = None if conditions is None else self._drawn_warps(size, conditions.warped_share, rng)
        forms = tuple[Form, ...]("timestamps" if rng.random() < TIMESTAMP_SHARE else "plain" for _ in scenes)
        masked_share = 0.0 if conditions is None else conditions.masked_share
        return Batch(np.stack([scene.audio for scene in scenes]), scenes, forms, warps, masked_share, rng)

    def _drawn_window(self, number: int, *, easy: bool) -> tuple[int, int]:
        """Seconds, and how many; the same for all parts. The first is the shortest."""
        chances = np.array([chance for _, _, chance in self._windows])
        drawn = np.random.default_rng((self._seed, number)).choice(len(chances), p=chances / chances.sum())
        window_s, windows, _ = self._windows[0 if easy else int(drawn)]
        return window_s, windows

    def _drawn_warps(self, size: int, share: float, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        warped = rng.random(size) < share
        return np.where(warped, rng.integers(0, self._warps, size), self._no_warp).astype(np.int64)
