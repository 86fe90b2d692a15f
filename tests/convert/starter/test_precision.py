"""The type that matrices multiply in is the one that was faster here."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

from convert.starter import precision

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("short_is", ["faster", "slower"])
def test_the_faster_one_is_taken(short_is: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    times = {torch.bfloat16: 1.0 if short_is == "faster" else 2.0, torch.float32: 1.5}
    monkeypatch.setattr(precision, "_multiplied_s", lambda left, right: times[left.dtype])
    assert precision.bfloat16_is_faster.__wrapped__() is (short_is == "faster")


def test_without_instructions_for_it_nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False)
    monkeypatch.setattr(precision, "_multiplied_s", lambda left, right: pytest.fail("it was tried"))
    assert not precision.bfloat16_is_faster.__wrapped__()
