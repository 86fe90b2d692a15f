"""How far one model's predictions are from another's: KL divergence, perplexity, agreement. Arithmetic only.

Definitions and uncertainties are those of llama.cpp's perplexity tool: means over the scored tokens, and standard
errors of these means as if tokens were independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Halves = npt.NDArray[np.float16]
Doubles = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]

BLOCK_ROWS: Final = 8
"""Rows at a time, so that the intermediate values of a vocabulary of 152k stay below 10 MB each."""

_DECIMALS: Final = 6


@dataclass(frozen=True)
class Predictions:
    """What one model says of the scored tokens.

    `nll` float64 [tokens]: the negative log-probability of the token that came, in nats; `top` int64 [tokens]: the most
    likely one.
    """

    nll: Doubles
    top: Ids


def predictions(logits: Floats, targets: Sequence[int]) -> Predictions:
    """Of `logits` float32 [tokens, vocabulary] and the tokens that came, [tokens]."""
    wanted = np.asarray(targets, dtype=np.int64)
    highest = logits.max(axis=1)
    totals = _blockwise_sum_exp(logits, highest)
    chosen = logits[np.arange(len(wanted)), wanted]
    nll = np.log(totals) - (chosen.astype(np.float64) - highest)
    return Predictions(nll, logits.argmax(axis=1).astype(np.int64))


def pack(logits: Floats) -> Halves:
    """Logits less their row's highest, as float16 [tokens, vocabulary]: finest where the probability is."""
    packed: Halves = (logits - logits.max(axis=1, keepdims=True)).astype(np.float16)
    return packed


def kl_divergence(reference: Halves, logits: Floats) -> Doubles:
    """KL(reference || candidate) in nats, float64 [tokens], of packed reference logits and a candidate's logits.

    Infinite where the candidate rules out what the reference does not; NaN where the candidate computes NaN.
    """
    parts = [
        _kl_block(reference[start : start + BLOCK_ROWS], logits[start : start + BLOCK_ROWS])
        for start in range(0, len(logits), BLOCK_ROWS)
    ]
    return np.concatenate(parts) if parts else np.empty(0)


def summary(reference: Predictions, candidate: Predictions, kl: Doubles) -> dict[str, Any]:
    """The numbers of a manifest, rounded; divergences in nats per token.

    `perplexity`, `perplexity_reference`, `perplexity_ratio`, `kl_mean` and `top1_agreement` with their `_uncertainty`
    (one standard error), `kl_median`, `kl_p99`, `kl_max`.
    """
    count = len(kl)
    with np.errstate(over="ignore", invalid="ignore"):
        perplexity, perplexity_error = _exponential(candidate.nll)
        base, base_error = _exponential(reference.nll)
        ratio, ratio_error = _exponential(candidate.nll - reference.nll)
        agreement = float(np.mean(reference.top == candidate.top))
        values = {
            "perplexity": perplexity,
            "perplexity_uncertainty": perplexity_error,
            "perplexity_reference": base,
            "perplexity_reference_uncertainty": base_error,
            "perplexity_ratio": ratio,
            "perplexity_ratio_uncertainty": ratio_error,
            "kl_mean": float(np.mean(kl)),
            "kl_mean_uncertainty": _standard_error(kl),
            "kl_median": float(np.median(kl)),
            "kl_p99": float(np.percentile(kl, 99)),
            "kl_max": float(np.max(kl)),
            "top1_agreement": agreement,
            "top1_agreement_uncertainty": (agreement * (1 - agreement) / max(1, count - 1)) ** 0.5,
        }
    return {key: _rounded(value) for key, value in values.items()}


def _kl_block(reference: Halves, logits: Floats) -> Doubles:
    with np.errstate(invalid="ignore", divide="ignore"):
        shifted = reference.astype(np.float32)
        probabilities = np.exp(shifted)
        total = probabilities.sum(axis=1, dtype=np.float64)
        highest = logits.max(axis=1)
        other_total = _blockwise_sum_exp(logits, highest)
        # sum p (log p - log q), with both log-partition terms taken out of the sum.
        difference = shifted - (logits - highest[:, None])
        weighted = np.where(probabilities > 0, probabilities * difference, np.float32(0))
        kl: Doubles = weighted.sum(axis=1, dtype=np.float64) / total - np.log(total) + np.log(other_total)
    # Rounding may leave a hair below zero, where the divergence cannot be. NaN stays NaN.
    return np.where(kl < 0, 0.0, kl)


def _blockwise_sum_exp(logits: Floats, highest: Floats) -> Doubles:
    sums = np.empty(len(logits))
    for start in range(0, len(logits), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        sums[rows] = np.exp(logits[rows] - highest[rows, None]).sum(axis=1, dtype=np.float64)
    return sums


def _exponential(logs: Doubles) -> tuple[float, float]:
    """exp of the mean, and its standard error, propagated."""
    value = float(np.exp(np.mean(logs)))
    return value, value * _standard_error(logs)


def _standard_error(values: Doubles) -> float:
    return float(np.sqrt(np.var(values) / max(1, len(values) - 1)))


def _rounded(value: float) -> float:
    """Six decimals, and no more than eight digits in all."""
    return float(f"{round(value, _DECIMALS):.8g}")
