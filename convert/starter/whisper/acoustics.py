"""What a room and a cheap microphone do to a voice: noise, echo, a narrow band, another level. Pure functions of arrays
and a generator; all signals are float32 at 16 kHz."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

RATE_HZ: Final = 16_000
NOISES: Final = ("white", "pink", "brown", "hum", "clicks")
BANDS_HZ: Final = ((300, 3400), (200, 5500), (120, 7000), (80, 4000))
"""A telephone, a small speaker, a cheap microphone, a thick wall."""
_KNOTS_HZ: Final = (80, 250, 700, 1500, 3000, 5000, 7500)
_GAIN_DB: Final = 9.0
_TINY: Final = 1e-9

Signal = npt.NDArray[np.float32]


def noise(kind: str, count: int, rng: np.random.Generator) -> Signal:
    """`count` samples with a root mean square of 1. Raises `ValueError` for a kind that is not in `NOISES`."""
    if kind == "white":
        made = rng.standard_normal(count, dtype=np.float32)
    elif kind in ("pink", "brown"):
        made = _colored(0.5 if kind == "pink" else 1.0, count, rng)
    elif kind == "hum":
        made = _hum(count, rng)
    elif kind == "clicks":
        made = _clicks(count, rng)
    else:
        raise ValueError(f"unknown noise {kind!r}")
    return (made / (_rms(made) + _TINY)).astype(np.float32)


def _colored(slope: float, count: int, rng: np.random.Generator) -> Signal:
    """Noise whose amplitude falls with frequency to the power of `slope`, from 20 Hz on."""
    spectrum = np.fft.rfft(rng.standard_normal(count, dtype=np.float32))
    hertz = np.fft.rfftfreq(count, 1 / RATE_HZ)
    shaped = spectrum / np.maximum(hertz, 20.0) ** slope * (hertz > 15)
    return np.fft.irfft(shaped, count).astype(np.float32)


def _hum(count: int, rng: np.random.Generator) -> Signal:
    """Mains or a motor: a tone with its harmonics, and a little noise."""
    base_hz = rng.choice((50.0, 60.0, 100.0, 120.0)) if rng.random() < 0.6 else rng.uniform(40, 400)
    seconds = np.arange(count) / RATE_HZ
    tones = [
        rng.uniform(0, 1) / number * np.sin(2 * np.pi * (base_hz * number * seconds + rng.random()))
        for number in range(1, 9)
    ]
    made = np.sum(tones, axis=0)
    return (made / (_rms(made) + _TINY) + 0.1 * rng.standard_normal(count)).astype(np.float32)


def _clicks(count: int, rng: np.random.Generator) -> Signal:
    """Knocks and clatter: short bursts that ring."""
    made = 0.01 * rng.standard_normal(count)
    for start in rng.integers(0, count, max(1, int(count / RATE_HZ * rng.uniform(0.5, 5)))):
        length = min(int(rng.uniform(0.005, 0.12) * RATE_HZ), count - int(start))
        ring = np.sin(2 * np.pi * rng.uniform(150, 3000) * np.arange(length) / RATE_HZ)
        fade = np.exp(-np.arange(length) / (length / 5 + 1))
        made[start : start + length] += rng.uniform(0.2, 1) * fade * (ring + 0.5 * rng.standard_normal(length))
    return made.astype(np.float32)


def with_noise(signal: Signal, disturbance: Signal, snr_db: float, *, floor: float = 1e-4) -> Signal:
    """`disturbance`, of a root mean square of 1, is added `snr_db` below `signal`."""
    return (signal + disturbance[: len(signal)] * (_rms(signal) + floor) * 10 ** (-snr_db / 20)).astype(np.float32)


def room(rng: np.random.Generator) -> Signal:
    """The impulse response of a room: the direct sound, a few early reflections, and a tail that dies away over 0.1 to
    0.6 s (the time to fall by 60 dB). Its energy is 1.
    """
    decay_s = rng.uniform(0.1, 0.6)
    count = int(decay_s * RATE_HZ)
    seconds = np.arange(count) / RATE_HZ
    response = rng.standard_normal(count) * 10 ** (-3 * seconds / decay_s) * rng.uniform(0.01, 0.06)
    response[0] = 1.0
    for place in rng.integers(int(0.002 * RATE_HZ), int(0.04 * RATE_HZ), 6):
        if place < count:
            response[place] += rng.uniform(-0.5, 0.5)
    return (response / np.sqrt((response**2).sum())).astype(np.float32)


def through(signal: Signal, response: Signal) -> Signal:
    """`signal` as it sounds through a room, as long as before."""
    size = 1 << (len(signal) + len(response) - 1).bit_length()
    spectrum = np.fft.rfft(signal, size) * np.fft.rfft(response, size)
    return np.fft.irfft(spectrum, size)[: len(signal)].astype(np.float32)


def band_limited(signal: Signal, low_hz: float, high_hz: float) -> Signal:
    """What is outside of the band fades out over a third of an octave."""
    hertz = np.maximum(np.fft.rfftfreq(len(signal), 1 / RATE_HZ), 1.0)
    gain = np.clip(1 - 3 * np.log2(low_hz / hertz), 0, 1) * np.clip(1 - 3 * np.log2(hertz / high_hz), 0, 1)
    return np.fft.irfft(np.fft.rfft(signal) * gain, len(signal)).astype(np.float32)


def equalized(signal: Signal, rng: np.random.Generator) -> Signal:
    """With another balance of low and high: a smooth curve through random gains, as loud as before. Synthesizers differ
    in it more than in how they pronounce: the long-term spectra of those that train by up to 17 dB in an octave.
    """
    gains_db = rng.normal(0, _GAIN_DB, len(_KNOTS_HZ))
    hertz = np.maximum(np.fft.rfftfreq(len(signal), 1 / RATE_HZ), 20.0)
    curve = np.interp(np.log(hertz), np.log(_KNOTS_HZ), gains_db)
    made = np.fft.irfft(np.fft.rfft(signal) * 10 ** (curve / 20), len(signal))
    return (made * (_rms(signal) / (_rms(made) + _TINY))).astype(np.float32)


def stretched(signal: Signal, factor: float) -> Signal:
    """Slower and deeper by `factor` (above 1), or faster and higher."""
    count = int(len(signal) * factor)
    return np.interp(np.linspace(0, len(signal) - 1, count), np.arange(len(signal)), signal).astype(np.float32)


def _rms(signal: npt.NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean(np.square(signal, dtype=np.float64)))) if len(signal) else 0.0
