"""What rooms and microphones do, in numbers."""

from __future__ import annotations

import numpy as np
import pytest

from convert.starter.whisper.acoustics import (
    NOISES,
    RATE_HZ,
    band_limited,
    equalized,
    noise,
    room,
    stretched,
    through,
    with_noise,
)

SECOND = np.arange(RATE_HZ) / RATE_HZ


def tone(hertz: float) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * SECOND).astype(np.float32)


def rms(signal: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(signal, dtype=np.float64))))


@pytest.mark.parametrize("kind", NOISES)
def test_noise_has_a_level_of_one_and_is_the_same_for_the_same_seed(kind: str) -> None:
    made = noise(kind, RATE_HZ, np.random.default_rng(1))
    assert made.dtype == np.float32
    assert rms(made) == pytest.approx(1, abs=1e-3)
    np.testing.assert_array_equal(made, noise(kind, RATE_HZ, np.random.default_rng(1)))


def test_an_unknown_noise_is_refused() -> None:
    with pytest.raises(ValueError, match="'purple'"):
        noise("purple", 10, np.random.default_rng(1))


def test_brown_noise_is_lower_than_pink_and_pink_than_white() -> None:
    centers = []
    for kind in ("white", "pink", "brown"):
        power = np.abs(np.fft.rfft(noise(kind, RATE_HZ, np.random.default_rng(2)))) ** 2
        centers.append((power * np.arange(len(power))).sum() / power.sum())
    assert centers == sorted(centers, reverse=True)


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 30.0])
def test_noise_is_added_at_the_ratio_that_was_asked_for(snr_db: float) -> None:
    voice = tone(440)
    added = with_noise(voice, noise("white", RATE_HZ, np.random.default_rng(3)), snr_db) - voice
    assert 20 * np.log10(rms(voice) / rms(added)) == pytest.approx(snr_db, abs=0.1)


@pytest.mark.parametrize(("hertz", "kept"), [(100, False), (1000, True), (3000, True), (6000, False)])
def test_a_band_keeps_what_is_in_it(hertz: float, kept: bool) -> None:
    left = rms(band_limited(tone(hertz), 300, 3400)) / rms(tone(hertz))
    assert left > 0.95 if kept else left < 0.05


def test_a_room_dies_away_and_keeps_the_energy_and_the_length() -> None:
    response = room(np.random.default_rng(4))
    assert float((response**2).sum()) == pytest.approx(1, abs=1e-3)
    middle = len(response) // 2
    assert rms(response[:middle]) > 5 * rms(response[middle:])
    click = np.zeros(RATE_HZ, np.float32)
    click[100] = 1
    heard = through(click, response)
    assert len(heard) == len(click)
    assert np.abs(heard[:100]).max() < 1e-5
    np.testing.assert_allclose(heard[100 : 100 + len(response)], response, atol=1e-5)


def test_stretching_changes_length_and_pitch() -> None:
    slow = stretched(tone(400), 1.25)
    assert len(slow) == RATE_HZ * 1.25
    assert np.argmax(np.abs(np.fft.rfft(slow))) / 1.25 == pytest.approx(320, abs=1)


def test_equalizing_moves_the_balance_of_low_and_high_and_keeps_the_level() -> None:
    signal = tone(200) + tone(4000)
    ratios = []
    for seed in range(20):
        made = equalized(signal, np.random.default_rng(seed))
        assert rms(made) == pytest.approx(rms(signal), rel=1e-3)
        spectrum = np.abs(np.fft.rfft(made))
        ratios.append(20 * np.log10(spectrum[4000] / spectrum[200]))
    assert min(ratios) < -4 < 4 < max(ratios)
