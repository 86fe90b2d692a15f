"""The loss of phones, which knows whose they are."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

from convert.starter.whisper.phone_loss import allowed_phones, phone_loss

pytestmark = pytest.mark.torch


def test_a_phone_is_chosen_among_those_of_its_synthesizer() -> None:
    allowed = allowed_phones(["-", "a/x", "a/y", "b/x"])
    assert allowed.int().tolist() == [[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 0], [1, 0, 0, 1]]
    logits = torch.zeros(1, 1, 4)
    losses = [float(phone_loss(logits, torch.tensor([[said]]), allowed).exp()) for said in range(4)]
    assert losses == pytest.approx([4, 3, 3, 2])
