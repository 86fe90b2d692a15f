"""What decoding needs of a decoder, whatever graph is behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from agent.engines.onnx.whisper.encoder import CrossAttention
from agent.errors import ContextOverflowError

Tokens = npt.NDArray[np.int64]
Logits = npt.NDArray[np.float32]
Weights = npt.NDArray[np.float32]


class StepDecoder(Protocol):
    """A batch of sequences that grow together. Not for two threads at once."""

    @property
    def length(self) -> int:
        """Tokens of each sequence so far."""

    @property
    def capacity(self) -> int:
        """The most that `length` can be."""

    @property
    def aligns(self) -> bool:
        """Whether `attend` works: the graph gives the attention of its alignment heads."""

    def begin(self, cross: CrossAttention) -> None:
        """Forgets what was decoded; from now on one sequence hears each of the windows in `cross`."""

    def step(self, tokens: npt.ArrayLike) -> Logits:
        """Feeds `tokens` [batch, n] after what is there; the logits after the last of them, float32 [batch, vocab].

        The array may be changed by the caller, and is overwritten by the next step. Raises `ContextOverflowError` when
        the buffers are full, `EngineError` if the run fails, `ValueError` for tokens that cannot be fed.
        """

    def attend(self, tokens: npt.ArrayLike) -> Weights:
        """As `step`, for the weights of the alignment heads: float32 [batch, alignment_heads, n, positions].

        For word timestamps. Raises `ValueError` unless `aligns`.
        """

    def end(self) -> None:
        """Forgets everything, and gives back what it takes in memory; `begin` is next."""

    def rollback(self, length: int) -> None:
        """Forgets all but the first `length` tokens of each sequence."""

    def reorder(self, rows: Sequence[int]) -> None:
        """Sequence i goes on from what sequence `rows[i]` is now; there may be more or fewer of them than before.

        Raises `ValueError` for a row that is not there, or when the sequences hear more than one window.
        """


def checked_tokens(tokens: npt.ArrayLike, *, batch: int, vocab_size: int, length: int, capacity: int) -> Tokens:
    """`tokens` as int64 [batch, n], n at least 1, all in the vocabulary. Raises as `StepDecoder.step`."""
    fed = np.array(tokens, dtype=np.int64, order="C")
    if fed.ndim != 2 or fed.shape[0] != batch or fed.shape[1] < 1:
        raise ValueError(f"tokens of shape {list(fed.shape)} are not [{batch}, n]")
    # A gather outside of its table is a read outside of the weights.
    if fed.min() < 0 or fed.max() >= vocab_size:
        raise ValueError(f"a token is not in the vocabulary of {vocab_size}")
    if length + fed.shape[1] > capacity:
        raise ContextOverflowError(f"The transcript does not fit the model's {capacity} tokens.")
    return fed


def checked_rows(rows: Sequence[int], batch: int) -> list[int]:
    """At least one row of `batch`. Raises `ValueError`."""
    taken = [int(row) for row in rows]
    if not taken or min(taken) < 0 or max(taken) >= batch:
        raise ValueError(f"rows {taken} are not among {batch} sequences")
    return taken
