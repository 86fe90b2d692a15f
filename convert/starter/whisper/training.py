"""Training from nothing, on scenes made as it goes; resumable, and averaged over its last part.

What makes it work in an hour and a half on two cores: first weights that let the sound through (`model.START_SCALE`);
a CTC loss on letters beside the decoder's; Muon for the matrices, which in the same steps gets further than AdamW;
short clear windows first, then everything; mostly windows of 4 to 10 s, where attention is cheap, and some of 30 s, so
that full windows work as well; and the mean of the weights of the last fifth, which is better than any one of them.
"""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from convert.starter.muon import Muon
from convert.starter.whisper.model import LETTERS, WARPS, Recognizer
from convert.starter.whisper.scenes import Scene, Utterances, draw_scene
from convert.starter.whisper.tokens import END, Form, target, token_id

CHECKPOINT: Final = "training.pt"
WINDOWS: Final = ((4, 48, 0.32), (6, 32, 0.26), (8, 24, 0.15), (10, 18, 0.15), (30, 5, 0.12))
"""Seconds, windows of a batch, share of the batches."""
TIMESTAMP_SHARE: Final = 0.4
SMOOTHING: Final = 0.02
WARM_UP_STEPS: Final = 150
LEAST_SHARE: Final = 0.01


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """`minutes` of computing, by one clock for all threads; shares are of that time."""

    seed: int = 0
    minutes: float = 55.0
    rate: float = 1.2e-3
    matrix_rate: float = 0.018
    decay: float = 0.01
    easy_share: float = 0.12
    average_share: float = 0.2
    average_every_steps: int = 20
    checkpoint_every_s: float = 120.0
    windows: tuple[tuple[int, int, float], ...] = WINDOWS
    ctc: tuple[tuple[float, float], ...] = ((0.15, 1.0), (0.6, 0.4), (1.0, 0.2))
    """Until this share of the time, this weight of the CTC loss."""
    warp_share: float = 0.0
    """Of the windows: as another vocal tract would have them."""
    equalized_share: float = 0.0
    """Of the windows: with another balance of low and high."""


def refining(seed: int, minutes: float) -> tuple[Recipe, Recipe]:
    """Two gentler parts after the first, on more voices: what it learned of three voices of a synthesizer does not
    carry over to a fourth, which first of all has another balance of low and high.
    """
    second = Recipe(
        seed=seed + 1,
        minutes=minutes,
        rate=5e-4,
        matrix_rate=0.007,
        easy_share=0.0,
        average_share=0.35,
        ctc=((1.0, 0.2),),
        warp_share=0.6,
    )
    return second, replace(second, seed=seed + 2, minutes=0.6 * minutes, equalized_share=0.8)


class Watch(Protocol):
    """Told after every step: which, share of the time, cross-entropy, CTC, seconds computed."""

    def __call__(self, step: int, share: float, entropy: float, ctc: float, used_s: float) -> None: ...


class Training:
    """`run` trains, and goes on where a run that was stopped left `folder`. Then `averaged` is the result."""

    def __init__(
        self, recognizer: Recognizer, tokenizer: Tokenizer, bank: Utterances, recipe: Recipe, folder: Path
    ) -> None:
        self.recognizer = recognizer
        self.averaged = copy.deepcopy(recognizer)
        self._counted = 0
        self._tokenizer = tokenizer
        self._bank = bank
        self._recipe = recipe
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / CHECKPOINT
        self._rng = np.random.default_rng(recipe.seed)
        self._step = 0
        self._used_s = 0.0
        wanted = [(name, parameter) for name, parameter in recognizer.named_parameters() if parameter.requires_grad]
        inner = [parameter for name, parameter in wanted if _is_inner(name, parameter)]
        outer = [parameter for name, parameter in wanted if not _is_inner(name, parameter)]
        self._optimizers: tuple[tuple[torch.optim.Optimizer, float], ...] = (
            (Muon(inner, lr=recipe.matrix_rate, decay=recipe.decay), recipe.matrix_rate),
            (
                torch.optim.AdamW(outer, lr=recipe.rate, betas=(0.9, 0.98), weight_decay=recipe.decay, fused=True),
                recipe.rate,
            ),
        )

    @property
    def used_s(self) -> float:
        """What it has computed so far, in all its runs, by one clock for all threads."""
        return self._used_s

    def run(self, watch: Watch) -> None:
        recipe = self._recipe
        self._resume()
        began_s, saved_at = _computing_s() - self._used_s, time.monotonic()
        while (share := (_computing_s() - began_s) / 60 / recipe.minutes) < 1:
            entropy, ctc = self._learn(share)
            self._step += 1
            if share >= 1 - recipe.average_share and self._step % recipe.average_every_steps == 0:
                self._average()
            watch(self._step, share, entropy, ctc, _computing_s() - began_s)
            if time.monotonic() - saved_at > recipe.checkpoint_every_s:
                self._used_s = _computing_s() - began_s
                self._save()
                saved_at = time.monotonic()
        if not self._counted:
            self._average()
        self._used_s = _computing_s() - began_s
        self._save()

    def _learn(self, share: float) -> tuple[float, float]:
        recipe, rng = self._recipe, self._rng
        easy = share < recipe.easy_share
        chances = [chance for _, _, chance in recipe.windows]
        which = 0 if easy else int(rng.choice(len(chances), p=np.array(chances) / sum(chances)))
        window_s, size, _ = recipe.windows[which]
        scenes = [
            draw_scene(self._bank, window_s, rng, easy=easy, equalized_share=recipe.equalized_share)
            for _ in range(size)
        ]
        with torch.no_grad():
            audio = torch.from_numpy(np.stack([scene.audio for scene in scenes]))
            mel = self.recognizer.log_mel(audio, self._warps(size))
        if not easy:
            mask_bands(mel, rng)
        forms = [self._form() for _ in scenes]
        rows = [target(self._tokenizer, scene.said, form) for scene, form in zip(scenes, forms, strict=True)]
        inputs, labels = shifted(rows, token_id(self._tokenizer, END))
        with torch.autocast("cpu", torch.bfloat16, enabled=_bfloat16_is_fast()):
            logits, letters = self.recognizer(mel, inputs)
        entropy = functional.cross_entropy(
            logits.float().transpose(1, 2), labels, ignore_index=-100, label_smoothing=SMOOTHING
        )
        ctc = ctc_loss(letters, scenes)
        weight = next((weight for until, weight in recipe.ctc if share < until), recipe.ctc[-1][1])
        self.recognizer.zero_grad(set_to_none=True)
        (entropy + weight * ctc).backward()
        nn.utils.clip_grad_norm_(self.recognizer.parameters(), 1.0)
        for optimizer, rate in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * rate_share(self._step, share)
            optimizer.step()
        return float(entropy.detach()), float(ctc.detach())

    def _warps(self, count: int) -> Tensor | None:
        if not self._recipe.warp_share:
            return None
        warped = self._rng.random(count) < self._recipe.warp_share
        return torch.from_numpy(np.where(warped, self._rng.integers(0, len(WARPS), count), WARPS.index(1.0)))

    def _form(self) -> Form:
        chance = self._rng.random()
        return "timestamps" if chance < TIMESTAMP_SHARE else "no speech" if chance < 0.7 else "plain"

    def _average(self) -> None:
        self._counted += 1
        with torch.no_grad():
            for mean, now in zip(self.averaged.parameters(), self.recognizer.parameters(), strict=True):
                mean.lerp_(now, 1 / self._counted)

    def _save(self) -> None:
        state: dict[str, Any] = {
            "recognizer": self.recognizer.state_dict(),
            "averaged": self.averaged.state_dict(),
            "counted": self._counted,
            "optimizers": [optimizer.state_dict() for optimizer, _ in self._optimizers],
            "rng": self._rng.bit_generator.state,
            "step": self._step,
            "used_s": self._used_s,
            "recipe": repr(asdict(self._recipe)),
        }
        part = self._path.with_suffix(".part")
        torch.save(state, part)
        os.replace(part, self._path)  # noqa: PTH105

    def _resume(self) -> None:
        """Where there is a checkpoint of this very recipe."""
        if not self._path.is_file():
            return
        state = torch.load(self._path, weights_only=True)
        if state["recipe"] != repr(asdict(self._recipe)):
            return
        self.recognizer.load_state_dict(state["recognizer"])
        self.averaged.load_state_dict(state["averaged"])
        for (optimizer, _), kept in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self._rng.bit_generator.state = state["rng"]
        self._counted, self._step, self._used_s = state["counted"], state["step"], state["used_s"]


def shifted(rows: Sequence[Sequence[int]], end: int) -> tuple[Tensor, Tensor]:
    """Tokens as the decoder's input, and what follows each; padding is the end, and -100, which no loss counts."""
    longest = max(map(len, rows))
    inputs = torch.tensor([[*row, *[end] * (longest - len(row))] for row in rows])
    labels = torch.tensor([[*row[1:], *[-100] * (longest - len(row) + 1)] for row in rows])
    return inputs, labels


def ctc_loss(letters: Tensor, scenes: Sequence[Scene]) -> Tensor:
    """letters float32 [B, positions, 28], log probabilities -> for each letter that was said. A mean over windows would
    count one without words as much as all the letters of another.
    """
    spelled = [
        "".join(letter for letter in " ".join(one.text for one in scene.said).lower() if letter in LETTERS)
        for scene in scenes
    ]
    total = functional.ctc_loss(
        letters.transpose(0, 1),
        torch.tensor([LETTERS.index(letter) + 1 for text in spelled for letter in text]),
        torch.full((len(scenes),), letters.shape[1]),
        torch.tensor([len(text) for text in spelled]),
        reduction="sum",
        zero_infinity=True,
    )
    return total / max(1, sum(map(len, spelled)))


def mask_bands(mel: Tensor, rng: np.random.Generator) -> None:
    """In place: of two windows in five, up to ten neighboring mels and up to 0.3 s are replaced by the mean."""
    for row in mel:
        if rng.random() < 0.4:
            low = int(rng.integers(0, row.shape[0] - 10))
            start = int(rng.integers(0, row.shape[1] - 30))
            row[low : low + int(rng.integers(1, 10))] = row.mean()
            row[:, start : start + int(rng.integers(1, 30))] = row.mean()


def rate_share(step: int, share: float) -> float:
    """Of the full rate: up over the first steps, then down as a cosine to a hundredth."""
    return max(LEAST_SHARE, min(1, step / WARM_UP_STEPS) * 0.5 * (1 + math.cos(math.pi * share)))


def _is_inner(name: str, parameter: Tensor) -> bool:
    """A matrix between two layers' activations, which Muon is for."""
    return parameter.ndim == 2 and not any(part in name for part in ("embed", "proj_out", "letters"))


def _computing_s() -> float:
    """What this process has computed, in seconds of all its threads together: others on the machine do not count."""
    return time.process_time() / torch.get_num_threads()


def _bfloat16_is_fast() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported()) or bool(torch.cpu._is_amx_tile_supported())
