"""A decoder that can be interrupted between its steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy.typing as npt

from agent.engines.onnx.whisper.encoder import CrossAttention
from agent.engines.onnx.whisper.steps import Logits, StepDecoder, Weights


class WatchedDecoder:
    """`decoder`, with `before_run` called before each run of its graph: what that raises ends the decoding."""

    def __init__(self, decoder: StepDecoder, before_run: Callable[[], None]) -> None:
        self._decoder = decoder
        self._before_run = before_run

    @property
    def length(self) -> int:
        return self._decoder.length

    @property
    def capacity(self) -> int:
        return self._decoder.capacity

    @property
    def aligns(self) -> bool:
        return self._decoder.aligns

    def begin(self, cross: CrossAttention) -> None:
        self._decoder.begin(cross)

    def step(self, tokens: npt.ArrayLike) -> Logits:
        self._before_run()
        return self._decoder.step(tokens)

    def attend(self, tokens: npt.ArrayLike) -> Weights:
        self._before_run()
        return self._decoder.attend(tokens)

    def end(self) -> None:
        self._decoder.end()

    def rollback(self, length: int) -> None:
        self._decoder.rollback(length)

    def reorder(self, rows: Sequence[int]) -> None:
        self._decoder.reorder(rows)
