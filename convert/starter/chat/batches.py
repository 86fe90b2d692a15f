"""Conversations made on the fly into batches of similar length."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import torch
from tokenizers import Tokenizer
from torch import Tensor

from convert.starter.chat.dialogue import dialogues
from convert.starter.chat.tokenizer import Example, encode

_POOL: Final = 2048
LONGEST: Final = 320
"""Conversations with more tokens are left out: one in a few hundred."""


@dataclass(frozen=True)
class Batch:
    """`tokens` [conversations, tokens], padded at the end; `weights` of the same shape, 0 for padding."""

    tokens: Tensor
    weights: Tensor


def batches(tokenizer: Tokenizer, seed: int, *, batch_tokens: int, prompt_weight: float) -> Iterator[Batch]:
    """Batches of about `batch_tokens` without end, the same for the same seed."""
    rng = random.Random(f"batches {seed}")
    talks = dialogues(seed)
    while True:
        pool = [encode(tokenizer, talk, prompt_weight=prompt_weight) for talk in itertools.islice(talks, _POOL)]
        pool = sorted((one for one in pool if len(one.tokens) <= LONGEST), key=lambda one: len(one.tokens))
        made = list(_cut(pool, batch_tokens))
        rng.shuffle(made)
        yield from map(_padded, made)


def _cut(pool: list[Example], batch_tokens: int) -> Iterator[list[Example]]:
    part: list[Example] = []
    for one in pool:
        if part and len(one.tokens) * (len(part) + 1) > batch_tokens:
            yield part
            part = []
        part.append(one)
    if part:
        yield part


def _padded(part: list[Example]) -> Batch:
    longest = max(len(one.tokens) for one in part)
    tokens = torch.zeros(len(part), longest, dtype=torch.long)
    weights = torch.zeros(len(part), longest)
    for row, one in enumerate(part):
        tokens[row, : len(one.tokens)] = torch.tensor(one.tokens)
        weights[row, : len(one.weights)] = torch.tensor(one.weights)
    return Batch(tokens, weights)
