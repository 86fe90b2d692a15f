"""The arithmetic of KL divergence and perplexity, against plain formulas in float64 and against known values."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from convert.quality.divergence import Predictions, kl_divergence, pack, predictions, summary

Floats = npt.NDArray[np.float32]


def random_logits(rows: int, vocabulary: int, *, scale: float, seed: int) -> Floats:
    drawn = np.random.default_rng(seed).normal(0, scale, (rows, vocabulary))
    return drawn.astype(np.float32)


def log_softmax(logits: Floats) -> npt.NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    result: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


@pytest.mark.parametrize("scale", [0.01, 1.0, 6.0])
@pytest.mark.parametrize("rows", [1, 8, 21])
def test_divergence_is_that_of_the_textbook(rows: int, scale: float) -> None:
    reference = random_logits(rows, 3001, scale=scale, seed=1)
    candidate = reference + random_logits(rows, 3001, scale=scale / 5, seed=2) + np.float32(40)
    p, q = log_softmax(reference), log_softmax(candidate)
    expected = (np.exp(p) * (p - q)).sum(axis=1)
    np.testing.assert_allclose(kl_divergence(pack(reference), candidate), expected, rtol=5e-3, atol=1e-6)


def test_a_model_does_not_diverge_from_itself() -> None:
    for scale in (0.0, 0.01, 1.0, 8.0):
        logits = random_logits(10, 5000, scale=scale, seed=3) + np.float32(17)
        assert kl_divergence(pack(logits), logits).max() < 1e-6


def test_divergence_from_a_uniform_model_is_the_entropy_that_is_missing() -> None:
    logits = random_logits(4, 1000, scale=2.0, seed=4)
    p = log_softmax(logits)
    missing = math.log(1000) + (np.exp(p) * p).sum(axis=1)
    np.testing.assert_allclose(kl_divergence(pack(logits), np.zeros_like(logits)), missing, rtol=1e-3)


def test_a_token_that_the_reference_rules_out_counts_nothing() -> None:
    reference = np.array([[0.0, -np.inf, 0.0]], np.float32)
    candidate = np.array([[0.0, 0.0, 0.0]], np.float32)
    assert kl_divergence(pack(reference), candidate) == pytest.approx([math.log(1.5)])
    assert kl_divergence(pack(reference), reference) == pytest.approx([0.0], abs=1e-9)


def test_a_token_that_only_the_candidate_rules_out_diverges_without_bound() -> None:
    reference = np.array([[0.0, 0.0]], np.float32)
    assert kl_divergence(pack(reference), np.array([[0.0, -np.inf]], np.float32))[0] == math.inf


def test_nan_stays_nan() -> None:
    candidate = np.array([[0.0, np.nan]], np.float32)
    assert math.isnan(kl_divergence(pack(np.zeros((1, 2), np.float32)), candidate)[0])


def test_predictions_hold_the_surprise_at_the_token_that_came_and_the_likeliest_one() -> None:
    logits = random_logits(19, 700, scale=3.0, seed=5)
    targets = list(np.random.default_rng(6).integers(0, 700, 19))
    found = predictions(logits, targets)
    np.testing.assert_allclose(found.nll, -log_softmax(logits)[np.arange(19), targets], rtol=1e-5)
    assert list(found.top) == list(logits.argmax(axis=1))


def test_the_summary_is_llama_cpp_s() -> None:
    """Against the formulas of tools/perplexity/perplexity.cpp, with sums written out."""
    generator = np.random.default_rng(7)
    n = 400
    base = generator.gamma(2.0, 1.0, n)
    nll = base + generator.normal(0.05, 0.2, n)
    kl = generator.gamma(1.0, 0.05, n)
    top, other = generator.integers(0, 9, n), generator.integers(0, 9, n)
    found = summary(Predictions(base, top), Predictions(nll, other), kl)

    def mean_and_error(total: float, total2: float) -> tuple[float, float]:
        mean = total / n
        return mean, math.sqrt((total2 / n - mean * mean) / (n - 1))

    log_q, error_q = mean_and_error(nll.sum(), (nll**2).sum())
    log_b, error_b = mean_and_error(base.sum(), (base**2).sum())
    covariance = ((nll * base).sum() / n - log_q * log_b) / (n - 1)
    ratio = math.exp(log_q - log_b)
    mean_kl, error_kl = mean_and_error(kl.sum(), (kl**2).sum())
    ordered = np.sort(kl)
    same = float((top == other).sum()) / n
    expected = {
        "perplexity": math.exp(log_q),
        "perplexity_uncertainty": math.exp(log_q) * error_q,
        "perplexity_reference": math.exp(log_b),
        "perplexity_reference_uncertainty": math.exp(log_b) * error_b,
        "perplexity_ratio": ratio,
        "perplexity_ratio_uncertainty": ratio * math.sqrt(error_q**2 + error_b**2 - 2 * covariance),
        "kl_mean": mean_kl,
        "kl_mean_uncertainty": error_kl,
        "kl_median": (ordered[199] + ordered[200]) / 2,
        "kl_p99": 0.99 * ordered[395] + 0.01 * ordered[396],
        "kl_max": ordered[-1],
        "top1_agreement": same,
        "top1_agreement_uncertainty": math.sqrt(same * (1 - same) / (n - 1)),
    }
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        if key == "kl_p99":
            value = ordered[395] + (0.99 * 399 - 395) * (ordered[396] - ordered[395])
        assert found[key] == pytest.approx(value, abs=2e-6), key


def test_numbers_are_rounded_so_that_noise_in_the_last_bits_does_not_show() -> None:
    base, kl = np.full(50, 2.0), np.full(50, 0.1)
    one = Predictions(base, np.zeros(50, np.int64))
    noisy = Predictions(base * (1 + 1e-12), np.zeros(50, np.int64))
    assert summary(one, one, kl) == summary(noisy, one, kl * (1 + 1e-12))
    assert summary(one, one, kl)["perplexity"] == 7.389056


def test_a_model_that_is_endlessly_wrong_gives_numbers_that_fail_instead_of_an_error() -> None:
    base = Predictions(np.full(9, 2.0), np.zeros(9, np.int64))
    broken = Predictions(np.full(9, np.inf), np.ones(9, np.int64))
    found = summary(base, broken, np.full(9, np.inf))
    assert found["kl_mean"] == math.inf
    assert found["perplexity"] == math.inf
