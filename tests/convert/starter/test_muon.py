"""Steps of Muon: orthogonal directions, the same for a matrix alone as among others of its shape."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

from convert.starter.muon import Muon, orthogonal

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("shape", [(16, 16), (32, 8), (8, 32), (3, 12, 6)])
def test_a_direction_is_nearly_orthogonal(shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    values = torch.linalg.svdvals(orthogonal(torch.randn(shape) * 7))
    assert float(values.min()) > 0.5
    assert float(values.max()) < 1.3


def test_matrices_of_one_shape_take_the_steps_that_each_would_take_alone() -> None:
    torch.manual_seed(2)
    starts = [torch.randn(8, 6) for _ in range(3)] + [torch.randn(4, 6)]
    together = [torch.nn.Parameter(start.clone()) for start in starts]
    alone = [torch.nn.Parameter(start.clone()) for start in starts]
    optimizers = [Muon(together, lr=0.1, decay=0.01), *(Muon([one], lr=0.1, decay=0.01) for one in alone)]
    for _ in range(3):
        for one, other in zip(together, alone, strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for one, other, start in zip(together, alone, starts, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-3)
        assert not torch.allclose(one, start, atol=0.05)
