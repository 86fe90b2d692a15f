"""Training: the student's vectors become the teacher's, and so do the similarities within a batch.

Two losses, both in the range of a cosine: 1 - cos(student, teacher) of each sentence, and the squared difference of the
two matrices of similarities of a batch (relational distillation: https://arxiv.org/abs/1904.05068). A batch holds
whole families, so that the matrix has near pairs in it and not only strangers.
"""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch

from convert.starter.embed.sentences import Sources, families
from convert.starter.embed.student import Student
from convert.starter.embed.teacher import HalfArray, padded
from convert.starter.precision import bfloat16_is_faster

CHECKPOINT: Final = "training.pt"
WARM_UP: Final = 0.04
"""Share of the training in which the rate rises."""
RELATIONS: Final = 20.0
"""Weight of the second loss: it is a mean of squares, and so much smaller."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """`minutes` of computing end it before all `sentences` were seen `epochs` times; both decide the learning rate."""

    seed: int = 0
    sentences: int = 122_880
    epochs: int = 2
    chunk_families: int = 2048
    batch_families: int = 40
    rate: float = 5e-4
    minutes: float | None = None
    checkpoint_every_s: float = 120.0

    @property
    def chunks(self) -> int:
        return max(1, self.sentences // (3 * self.chunk_families))


class Labeled(Protocol):
    """What has the teacher's vectors: `teacher.Labels`."""

    def of(self, texts: Sequence[str]) -> HalfArray: ...


class Watch(Protocol):
    """Told after every step."""

    def __call__(self, done_share: float, loss: float, used_s: float) -> None: ...


@dataclass
class _Progress:
    """What is kept besides weights: where to go on. `used_s` is computing time, by one clock for all threads."""

    epoch: int = 0
    chunk: int = 0
    used_s: float = 0.0
    done: bool = False


class Distillation:
    """`run` trains `student`, and goes on where a run that was stopped has left `folder`."""

    def __init__(self, student: Student, sources: Sources, labels: Labeled, recipe: Recipe, folder: Path) -> None:
        self._student = student
        self._sources = sources
        self._labels = labels
        self._recipe = recipe
        self._folder = folder
        self._at = _Progress()
        decayed = [p for p in student.parameters() if p.ndim > 1]
        others = [p for p in student.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
        self._optimizer = torch.optim.AdamW(groups, lr=recipe.rate, betas=(0.9, 0.98), fused=True)

    @property
    def used_s(self) -> float:
        """What it has computed so far, in all its runs, by one clock for all threads."""
        return self._at.used_s

    def run(self, watch: Watch) -> None:
        """A run that is done stays so."""
        self._resume()
        began_s, saved_at = _computing_s() - self._at.used_s, time.monotonic()
        while not self._at.done:
            self._learn(watch, began_s)
            self._at.used_s = _computing_s() - began_s
            if self._at.done or time.monotonic() - saved_at > self._recipe.checkpoint_every_s:
                self._save()
                saved_at = time.monotonic()

    def _learn(self, watch: Watch, began_s: float) -> None:
        """One chunk, or the part of it that there is time for."""
        recipe, at = self._recipe, self._at
        texts = self._chunk(at.chunk)
        targets = self._labels.of(texts)
        batches = list(self._batches(texts))
        for place, (members, rows) in enumerate(batches):
            used_s = _computing_s() - began_s
            share = (at.epoch + (at.chunk + place / len(batches)) / recipe.chunks) / recipe.epochs
            if recipe.minutes is not None:
                share = max(share, used_s / 60 / recipe.minutes)
            if share >= 1:
                at.done = True
                return
            watch(share, self._step(rows, targets[members], share), used_s)
        at.chunk += 1
        if at.chunk == recipe.chunks:
            at.epoch, at.chunk = at.epoch + 1, 0
        at.done = at.epoch == recipe.epochs

    def _chunk(self, index: int) -> list[str]:
        """The sentences of a chunk, one family after the other: the same in every epoch and every run."""
        made = families(self._sources, self._recipe.seed * 1_000_003 + index)
        return [text for family in islice(made, self._recipe.chunk_families) for text in family]

    def _batches(self, texts: Sequence[str]) -> Iterator[tuple[list[int], list[list[int]]]]:
        """Places of the texts and their token ids: families of about one length together, in an order of its own in
        every epoch."""
        recipe, rows = self._recipe, self._student.rows(texts)
        rng = random.Random(f"{recipe.seed} {self._at.epoch} {self._at.chunk}")
        size = len(texts) // recipe.chunk_families
        families_of = [list(range(start, start + size)) for start in range(0, len(texts), size)]
        families_of.sort(key=lambda family: max(len(rows[place]) for place in family) + 4 * rng.random())
        starts = list(range(0, len(families_of), recipe.batch_families))
        rng.shuffle(starts)
        for start in starts:
            members = [place for family in families_of[start : start + recipe.batch_families] for place in family]
            yield members, [rows[place] for place in members]

    def _step(self, rows: list[list[int]], targets: HalfArray, share: float) -> float:
        for group in self._optimizer.param_groups:
            group["lr"] = self._recipe.rate * rate_at(share)
        ids, mask = padded(rows)
        expected = torch.nn.functional.normalize(torch.from_numpy(targets.astype(np.float32)), dim=-1)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16_is_faster()):
            made = self._student(ids, mask)
        with torch.autocast("cpu", enabled=False):
            loss = loss_of(made.float(), expected)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._student.parameters(), 1.0)
        self._optimizer.step()
        return float(loss.detach())

    def _save(self) -> None:
        state: dict[str, Any] = {
            "student": self._student.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "at": vars(self._at),
            "recipe": vars(self._recipe),
        }
        part = self._folder / f"{CHECKPOINT}.part"
        torch.save(state, part)
        os.replace(part, self._folder / CHECKPOINT)  # noqa: PTH105

    def _resume(self) -> None:
        path = self._folder / CHECKPOINT
        if not path.is_file():
            return
        state = torch.load(path, weights_only=True)
        if state["recipe"] != vars(self._recipe):
            return
        self._student.load_state_dict(state["student"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._at = _Progress(**state["at"])


def loss_of(made: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """Both float32 [B, dimension], of length 1."""
    away = 1 - (made * expected).sum(1).mean()
    apart = (made @ made.T - expected @ expected.T).square()
    count = len(made)
    return away + RELATIONS * apart.sum() / (count * (count - 1))


def rate_at(share: float) -> float:
    """0..1 of the training -> 0..1 of the rate: up in a line, down as a cosine."""
    if share < WARM_UP:
        return share / WARM_UP
    return 0.5 * (1 + math.cos(math.pi * (share - WARM_UP) / (1 - WARM_UP)))


def _computing_s() -> float:
    """What this process has computed, in seconds of all its threads together: it stands still while others have the
    CPU, so that a busy machine does not shorten the training."""
    return time.process_time() / torch.get_num_threads()
