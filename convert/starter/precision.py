"""In which type matrices multiply fastest on this processor."""

from __future__ import annotations

import time
from functools import cache
from typing import Final

import torch
from torch import Tensor

_SHAPE: Final = (2048, 192, 768)
"""About those of the models that are trained here."""
_TURNS: Final = 5


@cache
def bfloat16_is_faster() -> bool:
    """As measured once, in turns, within a tenth of a second. That a processor has instructions for it says little: one
    with AVX-512's took 1.7 times as long as in float32 (docs/performance.md)."""
    if not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return False
    rows, inner, columns = _SHAPE
    pairs = [(torch.ones(rows, inner, dtype=one), torch.ones(columns, inner, dtype=one)) for one in _TYPES]
    for left, right in pairs:
        _multiplied_s(left, right)
    turns = [[_multiplied_s(left, right) for left, right in pairs] for _ in range(_TURNS)]
    short_s, full_s = (min(times) for times in zip(*turns, strict=True))
    return short_s < full_s


_TYPES: Final = (torch.bfloat16, torch.float32)


def _multiplied_s(left: Tensor, right: Tensor) -> float:
    began = time.perf_counter()
    torch.nn.functional.linear(left, right)
    return time.perf_counter() - began
