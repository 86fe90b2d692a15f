"""What the decoder reads of a transcript while it learns, what it should say next, and where it should listen for that.

It reads some words wrong: other words in their place, words too many, words too few. In the engine it reads what it
wrote itself, errors and all; one that has only ever read what is right makes nonsense of all that follows an error
(exposure bias: Ranzato et al., 2016).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Final

import numpy as np
import torch
from torch import Tensor

from convert.starter.whisper.tokens import Moment, Transcript

NO_LABEL: Final = -100
LEFT_OUT: Final = 1 / 6
ADDED: Final = 1 / 6
"""Of the errors; the others are words in the place of words."""
POSITION_S: Final = 0.02


@dataclass(frozen=True)
class Lesson:
    """int64 [B, n] `inputs` and the `labels` that follow each of them, `NO_LABEL` where nothing sensible does; float
    [B, n, 2] `spans`: the encoder's positions between which the label is, NaN where it has no time."""

    inputs: Tensor
    labels: Tensor
    spans: Tensor


@dataclass(frozen=True)
class _Unit:
    """The tokens of a word, or one that is of none."""

    tokens: list[int]
    moment: Moment | None

    @property
    def is_word(self) -> bool:
        return self.moment is not None and self.moment.is_word


def lesson(transcripts: Sequence[Transcript], padding: int, rng: np.random.Generator, wrong: float) -> Lesson:
    """A share of `wrong` of the words is read wrong; what should be said stays as it is."""
    rows = [list(_units(transcript)) for transcript in transcripts]
    others = [unit.tokens for row in rows for unit in row if unit.is_word]
    made = [_row(row, others, rng, wrong) for row in rows]
    longest = max(len(inputs) for inputs, _, _ in made)
    batch = Lesson(
        torch.full((len(made), longest), padding),
        torch.full((len(made), longest), NO_LABEL),
        torch.full((len(made), longest, 2), torch.nan),
    )
    for place, (inputs, labels, spans) in enumerate(made):
        batch.inputs[place, : len(inputs)] = torch.tensor(inputs)
        batch.labels[place, : len(labels)] = torch.tensor([transcripts[place].after_start, *labels[1:]])
        batch.spans[place, : len(spans)] = torch.tensor(spans)
    return batch


def _units(transcript: Transcript) -> Iterator[_Unit]:
    pairs = zip(transcript.tokens, transcript.moments, strict=True)
    for moment, group in groupby(pairs, key=lambda pair: pair[1]):
        tokens = [token for token, _ in group]
        yield from [_Unit(tokens, moment)] if moment else (_Unit([token], None) for token in tokens)


def _row(
    units: Sequence[_Unit], others: Sequence[list[int]], rng: np.random.Generator, wrong: float
) -> tuple[list[int], list[int], list[tuple[float, float]]]:
    inputs: list[int] = []
    labels: list[int] = []
    spans: list[tuple[float, float]] = []
    for unit, following in pairwise(units):
        read = [(unit.tokens, True)]
        if unit.is_word and rng.random() < wrong:
            kind = rng.random()
            if kind < LEFT_OUT:
                continue
            other = others[int(rng.integers(len(others)))]
            read = [*read, (other, False)] if kind < LEFT_OUT + ADDED else [(other, False)]
        for tokens, right in read:
            # Inside of a word that is read as it should be, its own tokens follow; inside of a wrong one, anything may.
            inner = tokens[1:] if right else [NO_LABEL] * (len(tokens) - 1)
            inputs += tokens
            labels += [*inner, following.tokens[0]]
            spans += [_span(unit.moment if right else None)] * len(inner) + [_span(following.moment)]
    return inputs, labels, spans


def _span(moment: Moment | None) -> tuple[float, float]:
    return (np.nan, np.nan) if moment is None else (moment.start_s / POSITION_S, moment.end_s / POSITION_S)


def listening_loss(logits: Tensor, spans: Tensor, slack: float) -> Tensor:
    """Of attention float [B, n, positions], how little is within `spans` [B, n, 2] and `slack` positions around: mean
    negative logarithm of the share, over those that have a span. 0 where none has."""
    places = torch.arange(logits.shape[2])
    inside = (places >= spans[..., :1] - slack) & (places <= spans[..., 1:] + slack)
    known = inside.any(2)
    if not known.any():
        return logits.new_zeros(())
    chosen = logits[known].float()
    return (chosen.logsumexp(1) - chosen.masked_fill(~inside[known], -torch.inf).logsumexp(1)).mean()
