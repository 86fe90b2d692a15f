"""Muon: momentum whose matrices are made orthogonal (Keller Jordan, https://kellerjordan.github.io/posts/muon/)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import torch
from torch import Tensor

from convert.starter.precision import bfloat16_is_faster

# The post's coefficients: five rounds bring all singular values near 1.
_ROUNDS: Final = 5
_A, _B, _C = 3.4445, -4.7750, 2.0315


class Muon(torch.optim.Optimizer):
    """For the matrices inside of a model; embeddings and vectors want AdamW. `decay` is of the weights, per unit of
    rate."""

    def __init__(self, matrices: Iterable[Tensor], *, lr: float, momentum: float = 0.95, decay: float = 0.0) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = {}
            for matrix in group["params"]:
                if matrix.grad is not None:
                    alike.setdefault(matrix.shape, []).append(matrix)
            for matrices in alike.values():
                self._step(matrices, group)

    def _step(self, matrices: list[Tensor], group: dict[str, Any]) -> None:
        """Of one shape: together they take half the time."""
        wanted = []
        for matrix in matrices:
            momentum = self.state[matrix].setdefault("momentum", torch.zeros_like(matrix))
            momentum.lerp_(matrix.grad, 1 - group["momentum"])
            wanted.append(matrix.grad.lerp(momentum, group["momentum"]))
        rows, columns = matrices[0].shape
        scale = -group["lr"] * max(1.0, rows / columns) ** 0.5
        for matrix, direction in zip(matrices, orthogonal(torch.stack(wanted)), strict=True):
            matrix.mul_(1 - group["lr"] * group["decay"])
            matrix.add_(direction, alpha=scale)


def orthogonal(matrices: Tensor) -> Tensor:
    """Nearly the orthogonal ones closest to `matrices` [..., rows, columns], by Newton-Schulz iterations."""
    x = matrices.bfloat16() if bfloat16_is_faster() else matrices.float()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(_ROUNDS):
        square = x @ x.mT
        x = _A * x + (_B * square + _C * square @ square) @ x
    return (x.mT if tall else x).to(matrices.dtype)
