"""The training of starter-chat: a cosine, and a checkpoint every two minutes to go on from."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from tokenizers import Tokenizer
from torch.nn import functional

from agent.errors import ArtifactError
from convert.starter.chat.batches import Batch, batches
from convert.starter.chat.model import Llama, Shape
from convert.starter.muon import Muon
from convert.starter.precision import bfloat16_is_faster

OnStep = Callable[[int, int, float], None]
"""Called with the steps done, the steps in all, and the mean loss of late."""

_CHECKPOINT_EVERY_S: Final = 120.0
_WARM_UP_STEPS: Final = 60
_MEASURED_STEPS: Final = 12
_KEPT: Final = ("done", "steps", "seconds", "recent_loss")
"""Of a `Run`, what a checkpoint holds besides weights and optimizers."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what the model becomes, besides the data.

    `steps` None takes as many as fit into `minutes` of `threads` free cores, by the time that the first ones took.
    `rate` is of the embedding and the vectors, `matrix_rate` of the matrices.
    """

    seed: int = 1
    steps: int | None = 3200
    minutes: float = 40.0
    batch_tokens: int = 4096
    rate: float = 5e-3
    matrix_rate: float = 0.02
    decay: float = 0.1
    prompt_weight: float = 0.1
    threads: int = 2


@dataclass(frozen=True)
class Trained:
    """`seconds` of processor time, all runs together."""

    model: Llama
    steps: int
    seconds: float


def loss(model: Llama, batch: Batch) -> torch.Tensor:
    """Mean cross-entropy of the tokens, by their weights."""
    logits = model(batch.tokens[:, :-1])
    weights = batch.weights[:, 1:].flatten()
    each = functional.cross_entropy(logits.float().flatten(0, 1), batch.tokens[:, 1:].flatten(), reduction="none")
    return (each * weights).sum() / weights.sum()


def train(
    recipe: Recipe, shape: Shape, tokenizer: Tokenizer, checkpoint: Path | None = None, on_step: OnStep | None = None
) -> Trained:
    """A trained model, in float32 on the CPU. Goes on from `checkpoint` where that is a file, and keeps it up to date.

    The same recipe, shape and tokenizer give the same model but for the order in which threads add. Raises
    `ArtifactError` for a checkpoint of another recipe.
    """
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    run = Run(recipe, Llama(shape))
    if checkpoint is not None and checkpoint.is_file():
        run.resume(checkpoint)
    stream = batches(tokenizer, recipe.seed + 1, batch_tokens=recipe.batch_tokens, prompt_weight=recipe.prompt_weight)
    saved_at = time.monotonic()
    for batch in itertools.islice(stream, run.done, None):
        if run.steps is not None and run.done >= run.steps:
            break
        run.step(batch)
        if on_step is not None:
            on_step(run.done, run.steps or 0, run.recent_loss)
        if checkpoint is not None and time.monotonic() - saved_at > _CHECKPOINT_EVERY_S:
            run.save(checkpoint)
            saved_at = time.monotonic()
    if checkpoint is not None:
        run.save(checkpoint)
    return Trained(run.model, run.done, run.seconds)


class Run:
    """A training under way: the model, its optimizers, and how far it is.

    Muon has the matrices inside of the model, AdamW the embedding and the vectors.
    """

    def __init__(self, recipe: Recipe, model: Llama) -> None:
        self.model = model
        self.done = 0
        self.steps = recipe.steps
        self.seconds = 0.0
        self.recent_loss = 0.0
        self._recipe = recipe
        inner = [parameter for name, parameter in model.named_parameters() if _is_inner(name, parameter)]
        outer = [parameter for name, parameter in model.named_parameters() if not _is_inner(name, parameter)]
        self._optimizers: tuple[tuple[torch.optim.Optimizer, float], ...] = (
            (Muon(inner, lr=recipe.matrix_rate, decay=recipe.decay), recipe.matrix_rate),
            (torch.optim.AdamW(outer, lr=recipe.rate, betas=(0.9, 0.98), weight_decay=0.0), recipe.rate),
        )

    def step(self, batch: Batch) -> None:
        started = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16_is_faster()):
            value = loss(self.model, batch)
        value.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer, rate in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * _share(self.done, self.steps)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.done += 1
        self.recent_loss = 0.97 * self.recent_loss + 0.03 * value.item() if self.recent_loss else value.item()
        self.seconds += time.process_time() - started
        if self.steps is None and self.done == _MEASURED_STEPS:
            each_s = self.seconds / self.done / self._recipe.threads
            self.steps = max(self.done, round(self._recipe.minutes * 60 / each_s))

    def save(self, path: Path) -> None:
        """Whole or not at all."""
        part = path.with_name(f"{path.name}.part")
        state = {name: getattr(self, name) for name in _KEPT}
        optimizers = [optimizer.state_dict() for optimizer, _ in self._optimizers]
        torch.save({**self._identity(), **state, "model": self.model.state_dict(), "optimizers": optimizers}, part)
        part.replace(path)

    def resume(self, path: Path) -> None:
        """Raises `ArtifactError` for a checkpoint of another training."""
        try:
            kept: dict[str, Any] = torch.load(path, weights_only=True)
        except Exception as error:  # a file of any other kind fails in any other way
            raise ArtifactError(f"{path} is no checkpoint.", hint="Remove it, or give another --checkpoint.") from error
        if any(kept.get(key) != value for key, value in self._identity().items()):
            raise ArtifactError(f"{path} is of another training.", hint="Remove it, or train with the same options.")
        self.model.load_state_dict(kept["model"])
        for (optimizer, _), state in zip(self._optimizers, kept["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        for name in _KEPT:
            setattr(self, name, kept[name])

    def _identity(self) -> dict[str, Any]:
        return {"recipe": asdict(self._recipe), "shape": asdict(self.model.shape)}


def _is_inner(name: str, parameter: torch.Tensor) -> bool:
    return parameter.dim() == 2 and not name.startswith("embedding")


def _share(done: int, steps: int | None) -> float:
    """Of the highest rate: up in the first steps, down along a cosine to nothing."""
    warm_up = _WARM_UP_STEPS if steps is None else min(_WARM_UP_STEPS, steps // 10 + 1)
    rising = min(1.0, (done + 1) / warm_up)
    return rising * 0.5 * (1 + math.cos(math.pi * min(1.0, done / steps))) if steps else rising
