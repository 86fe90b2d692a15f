"""How well the encoder knows which phone it hears: a second task, that only the training has."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def allowed_phones(names: Sequence[str]) -> Tensor:
    """bool [n, n]: which phones stand for choice where this one is said. Those of its own synthesizer, `a/b` of `a`,
    and silence, which is the first; in silence all.
    """
    programs = [name.partition("/")[0] for name in names]
    places = range(len(names))
    return torch.tensor([[not said or not one or programs[said] == programs[one] for one in places] for said in places])


def phone_loss(logits: Tensor, labels: Tensor, allowed: Tensor) -> Tensor:
    """float [B, positions, n], int64 [B, positions] -> mean cross-entropy over all positions."""
    masked = logits.float().masked_fill(~allowed[labels], -1e4)
    return functional.cross_entropy(masked.flatten(0, 1), labels.flatten())
