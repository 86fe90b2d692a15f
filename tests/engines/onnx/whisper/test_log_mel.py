"""Whisper's log-mel, against what transformers made of the same audio (`make_fixtures.py`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agent.engines.onnx.whisper.log_mel import WINDOW_FRAMES, fitted_frames, log_mel, log_power, scaled
from agent.engines.onnx.whisper.mel_filters import mel_filters
from agent.errors import RequestError
from tests.engines.onnx.whisper.made_audio import glide
from tests.engines.onnx.whisper.make_fixtures import MELS, SHORT_SAMPLES, WHOLE_SAMPLES

EXPECTED = np.load(Path(__file__).with_name("log_mel.npz"))
TOLERANCE = 1e-4


@pytest.mark.parametrize("n_mels", MELS)
def test_a_padded_window_is_transformers_and_silence_to_its_end(n_mels: int) -> None:
    features = log_mel(glide(SHORT_SAMPLES), mel_filters(n_mels), WINDOW_FRAMES)
    expected = EXPECTED[f"padded_{n_mels}"]
    assert features.shape == (n_mels, WINDOW_FRAMES)
    assert features.dtype == np.float32
    assert np.abs(features[:, : expected.shape[1]] - expected).max() <= TOLERANCE
    assert np.unique(features[:, expected.shape[1] - 1 :]).size == 1


@pytest.mark.parametrize("n_mels", MELS)
def test_a_window_that_the_audio_fills_is_transformers_at_both_mirrored_ends(n_mels: int) -> None:
    features = log_mel(glide(WHOLE_SAMPLES), mel_filters(n_mels))
    expected = EXPECTED[f"whole_{n_mels}"]
    assert features.shape == expected.shape
    assert np.abs(features - expected).max() <= TOLERANCE


@pytest.mark.parametrize("samples", [1, 159, 160, 161, 320, 321, SHORT_SAMPLES, 80_000, 480_000])
def test_what_is_skipped_as_silence_is_what_a_transform_would_have_given(samples: int) -> None:
    audio = np.cos(np.arange(samples) / 7).astype(np.float32)
    frames = fitted_frames(samples) + 10
    padded = np.pad(audio, (0, frames * 160 - samples))
    filters = mel_filters(80)
    assert np.array_equal(log_mel(audio, filters, frames), log_mel(padded, filters, frames))


@pytest.mark.parametrize("samples", [3, 8_000, 50_001])
def test_a_fitted_window_is_the_beginning_of_the_full_one_up_to_its_mirrored_end(samples: int) -> None:
    audio, filters = glide(50_001)[:samples], mel_filters(80)
    frames = fitted_frames(samples)
    fitted, full = log_power(audio, filters, frames), log_power(audio, filters, WINDOW_FRAMES)
    assert np.array_equal(fitted[:, : frames - 2], full[:, : frames - 2])


@pytest.mark.parametrize(
    ("samples", "frames"), [(0, 2), (1, 2), (320, 2), (321, 4), (640, 4), (16_000, 100), (480_000, 3_000)]
)
def test_the_window_is_the_smallest_even_number_of_frames(samples: int, frames: int) -> None:
    assert fitted_frames(samples) == frames


def test_power_of_a_beginning_does_not_depend_on_what_follows() -> None:
    """So that a live window can grow: only the scaling looks at the whole."""
    audio, filters = glide(16_000), mel_filters(80)
    audio[8_000:] *= 100
    whole, beginning = log_power(audio, filters, 100), log_power(audio[:8_000], filters, 50)
    assert np.array_equal(whole[:, :48], beginning[:, :48])
    assert not np.array_equal(scaled(whole)[:, :48], scaled(beginning)[:, :48])


def test_no_audio_is_silence() -> None:
    """10 decades below full scale: (-10 + 4) / 4."""
    assert np.unique(log_mel(np.zeros(0, dtype=np.float32), mel_filters(80))).tolist() == pytest.approx([-1.5])


def test_the_precision_of_the_samples_does_not_matter() -> None:
    audio, filters = glide(4_000), mel_filters(80)
    assert np.array_equal(log_mel(audio, filters), log_mel(audio.astype(np.float64), filters))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_numbers_are_refused(bad: float) -> None:
    audio = glide(4_000)
    audio[17] = bad
    with pytest.raises(RequestError, match="not finite"):
        log_mel(audio, mel_filters(80))


@pytest.mark.parametrize(
    ("audio", "frames"),
    [
        (np.zeros((2, 100), dtype=np.float32), 2),
        (np.zeros(100, dtype=np.int16), 2),
        (np.zeros(321, dtype=np.float32), 2),
    ],
)
def test_what_is_not_one_window_of_mono_floats_is_a_mistake(audio: np.ndarray, frames: int) -> None:
    with pytest.raises(ValueError):
        log_mel(audio, mel_filters(80), frames)


@pytest.mark.parametrize("n_mels", MELS)
def test_filters_cover_every_band_with_equal_area(n_mels: int) -> None:
    filters = mel_filters(n_mels)
    assert filters.shape == (n_mels, 201)
    assert filters.dtype == np.float32
    assert (filters >= 0).all()
    assert (filters.max(axis=1) > 0).all()
    # Slaney's norm: an integral of 1 over frequency, as far as 40 Hz bins resolve it.
    wide = filters[-20:].sum(axis=1) * 40
    assert np.abs(wide - 1).max() < 0.02
