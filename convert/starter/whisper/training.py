"""Training from nothing, on scenes made as it goes; resumable, and averaged over its last part.

What makes it work in an hour and a half on two cores: first weights that let the sound through (`model.START_SCALE`);
the phone of every position as a second task of the encoder; for one head of each of the decoder's layers, where each
word is said; some wrong words in what the decoder reads; Muon for the matrices, which in the same steps gets further
than AdamW; small batches, since many steps teach more than large ones; short clear windows first, then everything, then
what is likely; mostly windows of 4 to 10 s, where attention is cheap, and some of 30 s, so that full windows work as
well; other vocal tracts and other balances of low and high, without which what it learned of three voices of a
synthesizer does not carry over to a fourth; and the mean of the weights of the last quarter, which is better than any
one of them. Each half of a batch is drawn
and learned by one thread, so that no core waits.
"""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from convert.starter.muon import Muon
from convert.starter.precision import bfloat16_is_faster
from convert.starter.whisper.batches import PARTS, STAGES, WINDOWS, Batches, Stages, Windows
from convert.starter.whisper.model import WARPS, Recognizer
from convert.starter.whisper.phone_loss import allowed_phones, phone_loss
from convert.starter.whisper.reading import NO_LABEL, lesson, listening_loss
from convert.starter.whisper.scenes import Utterances
from convert.starter.whisper.tokens import END, target, token_id

CHECKPOINT: Final = "training.pt"
SMOOTHING: Final = 0.02
SILENT_WEIGHT: Final = 4.0
"""Of a token of a window without speech: it has three or four where a sentence has a dozen."""
WARM_UP_STEPS: Final = 150
LEAST_SHARE: Final = 0.01


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """`minutes` of computing, by one clock for all threads; shares are of that time."""

    seed: int = 0
    minutes: float = 60.0
    rate: float = 0.9e-3
    matrix_rate: float = 0.0135
    decay: float = 0.01
    average_share: float = 0.25
    average_every_steps: int = 20
    checkpoint_every_s: float = 120.0
    windows: Windows = WINDOWS
    phone_weight: tuple[tuple[float, float], ...] = ((0.15, 1.0), (0.6, 0.6), (1.0, 0.3))
    """Until this share of the time, this weight of the phones' loss beside the text's."""
    wrong_words: tuple[tuple[float, float], ...] = ((0.7, 0.12), (1.0, 0.06))
    """Until this share of the time, this share of the words that the decoder reads is wrong."""
    listening_weight: float = 0.5
    slack_positions: float = 10
    """Around a word, for its time is known about only."""
    stages: Stages = STAGES


class Losses(NamedTuple):
    """Cross-entropy of text and of phones, and `reading.listening_loss`; each a mean, in nats."""

    text: float
    phones: float
    listening: float


class Watch(Protocol):
    """Told after every step: which, share of the time, the losses, seconds computed."""

    def __call__(self, step: int, share: float, losses: Losses, used_s: float) -> None: ...


class Training:
    """`run` trains, and goes on where a run that was stopped left `folder`. Then `averaged` is the result."""

    def __init__(
        self, recognizer: Recognizer, tokenizer: Tokenizer, bank: Utterances, recipe: Recipe, folder: Path
    ) -> None:
        self.recognizer = recognizer
        self.averaged = copy.deepcopy(recognizer)
        self._counted = 0
        self._tokenizer = tokenizer
        self._recipe = recipe
        self._allowed = allowed_phones(bank.phone_names)
        self._batches = Batches(
            bank, recipe.seed, recipe.windows, recipe.stages, warps=len(WARPS), no_warp=WARPS.index(1.0)
        )
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / CHECKPOINT
        self._step = 0
        self._used_s = 0.0
        wanted = [(name, parameter) for name, parameter in recognizer.named_parameters() if parameter.requires_grad]
        self._wanted = [parameter for _, parameter in wanted]
        self._threads = min(PARTS, torch.get_num_threads())
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
        began_s, saved_at = self._computing_s() - self._used_s, time.monotonic()
        with ThreadPoolExecutor(self._threads, "learning", torch.set_num_threads, (1,)) as threads:
            while (share := (self._computing_s() - began_s) / 60 / recipe.minutes) < 1:
                losses = self._learn(threads, share)
                self._step += 1
                if share >= 1 - recipe.average_share and self._step % recipe.average_every_steps == 0:
                    self._average()
                watch(self._step, share, losses, self._computing_s() - began_s)
                if time.monotonic() - saved_at > recipe.checkpoint_every_s:
                    self._used_s = self._computing_s() - began_s
                    self._save()
                    saved_at = time.monotonic()
        if not self._counted:
            self._average()
        self._used_s = self._computing_s() - began_s
        self._save()

    def _computing_s(self) -> float:
        """What this process has computed, as seconds of all threads: others on the machine do not count."""
        return time.process_time() / self._threads

    def _learn(self, threads: Executor, share: float) -> Losses:
        parts = [threads.submit(self._derive, part, share) for part in range(PARTS)]
        derived = [part.result() for part in parts]
        for parameter, *gradients in zip(self._wanted, *(gradients for _, gradients in derived), strict=True):
            parameter.grad = torch.stack(gradients).mean(0)
        nn.utils.clip_grad_norm_(self._wanted, 1.0)
        for optimizer, rate in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * rate_share(self._step, share)
            optimizer.step()
        return Losses(*np.mean([losses for losses, _ in derived], axis=0).tolist())

    def _derive(self, part: int, share: float) -> tuple[Losses, Sequence[Tensor]]:
        """The gradients of all of `self._wanted`, for one part of the next batch."""
        recipe, batch = self._recipe, self._batches.draw(self._step, part, share)
        scenes = batch.scenes
        with torch.no_grad():
            warps = None if batch.warps is None else torch.from_numpy(batch.warps)
            mel = self.recognizer.log_mel(torch.from_numpy(batch.audio), warps)
        mask_bands(mel, batch.rng, batch.masked_share)
        rows = [target(self._tokenizer, scene.said, form) for scene, form in zip(scenes, batch.forms, strict=True)]
        wrong = next((wrong for until, wrong in recipe.wrong_words if share < until), recipe.wrong_words[-1][1])
        taught = lesson(rows, token_id(self._tokenizer, END), batch.rng, wrong)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16_is_faster()):
            made = self.recognizer(mel, taught.inputs)
        entropies = functional.cross_entropy(
            made.text.float().transpose(1, 2),
            taught.labels,
            ignore_index=NO_LABEL,
            label_smoothing=SMOOTHING,
            reduction="none",
        )
        silent = torch.tensor([not scene.said for scene in scenes])
        weights = (taught.labels != NO_LABEL) * torch.where(silent, SILENT_WEIGHT, 1.0)[:, None]
        entropy = (entropies * weights).sum() / weights.sum()
        said = torch.from_numpy(np.stack([scene.phones for scene in scenes]))
        phones = phone_loss(made.phones, said, self._allowed)
        listening = torch.stack(
            [listening_loss(head, taught.spans, recipe.slack_positions) for head in made.listening]
        ).mean()
        weight = next((weight for until, weight in recipe.phone_weight if share < until), recipe.phone_weight[-1][1])
        total = entropy + weight * phones + recipe.listening_weight * listening
        gradients = torch.autograd.grad(total, self._wanted)
        return Losses(float(entropy.detach()), float(phones.detach()), float(listening.detach())), gradients

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
        self._counted, self._step, self._used_s = state["counted"], state["step"], state["used_s"]


def mask_bands(mel: Tensor, rng: np.random.Generator, share: float) -> None:
    """In place: of so many windows, up to ten neighboring mels and up to 0.3 s are replaced by the mean."""
    for row in mel:
        if rng.random() < share:
            low = int(rng.integers(0, row.shape[0] - 10))
            start = int(rng.integers(0, row.shape[1] - 30))
            row[low : low + int(rng.integers(1, 10))] = row.mean()
            row[:, start : start + int(rng.integers(1, 30))] = row.mean()


def rate_share(step: int, share: float) -> float:
    """Of the full rate: up over the first steps, then down as a cosine to a hundredth."""
    return max(LEAST_SHARE, min(1, step / WARM_UP_STEPS) * 0.5 * (1 + math.cos(math.pi * share)))


def _is_inner(name: str, parameter: Tensor) -> bool:
    """A matrix between two layers' activations, which Muon is for."""
    return parameter.ndim == 2 and not any(part in name for part in ("embed", "proj_out", "phones"))
