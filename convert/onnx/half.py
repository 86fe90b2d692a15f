"""Weights in 16-bit floating point."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from agent.errors import ArtifactError

LARGEST: Final = 65504.0
"""The largest finite float16."""


def to_half(array: npt.NDArray[Any], name: str) -> npt.NDArray[np.float16]:
    """`array` rounded to the nearest float16. Raises `ArtifactError` where a value is too large for it."""
    largest = float(np.abs(array).max()) if array.size else 0.0
    if largest > LARGEST:
        raise ArtifactError(
            f"The tensor {name} holds {largest:.4g}, and float16 ends at {LARGEST:.0f}.",
            hint="Convert with --precision fp32 or int8.",
        )
    return array.astype(np.float16)
