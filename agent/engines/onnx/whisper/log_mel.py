"""Audio in, Whisper's log-mel spectrogram out, with numpy alone."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from agent.engines.onnx.whisper.mel_filters import FFT_BINS, FFT_SAMPLES, SAMPLE_RATE_HZ
from agent.errors import RequestError

HOP_SAMPLES: Final = 160
FRAMES_PER_SECOND: Final = SAMPLE_RATE_HZ // HOP_SAMPLES
WINDOW_FRAMES: Final = 30 * FRAMES_PER_SECOND
"""The 30 s that Whisper was trained on."""

_EDGE_SAMPLES: Final = FFT_SAMPLES // 2
_FLOOR: Final = 1e-10
_RANGE_DECADES: Final = 8.0
# Keeps the working set of one block (9.6 kB a frame) within a small board's cache, and its spectrum below the size from
# which a worker's memory is mapped anew each time (`give_large_blocks_back`).
_BLOCK_FRAMES: Final = 64
_HANN: Final = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FFT_SAMPLES) / FFT_SAMPLES)

Audio = npt.NDArray[np.floating[Any]]
Features = npt.NDArray[np.float32]


def fitted_frames(samples: int) -> int:
    """The smallest even number of frames (10 ms each) that holds so many samples: at least 2.

    Even, because the encoder halves the frames.
    """
    return max(2, 2 * math.ceil(samples / (2 * HOP_SAMPLES)))


def log_mel(audio: Audio, filters: Features, frames: int | None = None) -> Features:
    """Log-mel spectrogram of 16 kHz mono audio, as the encoder takes it: float32 [n_mels, frames].

    `audio` is [samples] in -1..1 and is padded with silence to `frames` (default: `fitted_frames`; `WINDOW_FRAMES` for
    the trained window). `filters` is [n_mels, 201] from `mel_filters`. Raises `RequestError` for NaN or infinite
    samples, and `ValueError` for audio that is not one channel of floats, or longer than `frames`.
    """
    frames = fitted_frames(len(audio)) if frames is None else frames
    return scaled(log_power(audio, filters, frames))


def log_power(audio: Audio, filters: Features, frames: int) -> Features:
    """log10 of the mel power, float32 [n_mels, frames], not yet scaled: it does not depend on how loud the rest is."""
    if audio.ndim != 1 or not np.issubdtype(audio.dtype, np.floating):
        raise ValueError(f"audio must be one channel of floats, not {audio.dtype} {list(audio.shape)}")
    if len(audio) > frames * HOP_SAMPLES:
        raise ValueError(f"{len(audio)} samples do not fit {frames} frames")
    if not np.isfinite(audio).all():
        raise RequestError("The audio has samples that are not finite numbers.", hint="Check how it was recorded.")
    padded = _with_edges(audio, frames * HOP_SAMPLES)
    # What comes after the audio is silence: its power is the floor, and there is nothing to transform.
    sounding = min(frames, (len(audio) + _EDGE_SAMPLES) // HOP_SAMPLES + 1)
    power = np.full((filters.shape[0], frames), _FLOOR, dtype=np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(padded, FFT_SAMPLES)[::HOP_SAMPLES]
    block = _Block(min(_BLOCK_FRAMES, sounding))
    for start in range(0, sounding, _BLOCK_FRAMES):
        stop = min(start + _BLOCK_FRAMES, sounding)
        np.matmul(filters, block.energy(windows[start:stop]).T, out=power[:, start:stop])
    return np.log10(np.maximum(power, _FLOOR, out=power), out=power)


class _Block:
    """Memory for some frames, used for all of them in turn: to map and clear it takes as long as to use it."""

    def __init__(self, frames: int) -> None:
        self._windowed = np.empty((frames, FFT_SAMPLES))
        self._squares = np.empty((2, frames, FFT_BINS))
        self._energy = np.empty((frames, FFT_BINS), dtype=np.float32)

    def energy(self, windows: npt.NDArray[np.float64]) -> Features:
        """The power spectrum of `windows` [frames, 400]: float32 [frames, 201], overwritten by the next."""
        count = len(windows)
        # In double precision: numpy's transform is no slower in it, and quiet bands beside loud ones stay exact.
        windowed = np.multiply(windows, _HANN, out=self._windowed[:count])
        spectrum = np.fft.rfft(windowed)
        real, imaginary = self._squares[:, :count]
        np.multiply(spectrum.real, spectrum.real, out=real)
        np.multiply(spectrum.imag, spectrum.imag, out=imaginary)
        real += imaginary
        energy = self._energy[:count]
        energy[...] = real
        return energy


def scaled(log_power: Features) -> Features:
    """Limits the range to 8 decades below the loudest and scales it to about -1..1; works in place."""
    np.maximum(log_power, log_power.max() - np.float32(_RANGE_DECADES), out=log_power)
    log_power += np.float32(4.0)
    log_power /= np.float32(4.0)
    return log_power


def _with_edges(audio: Audio, samples: int) -> npt.NDArray[np.float64]:
    """The audio padded with zeros to `samples`, then mirrored by half a frame at both ends (torch.stft's `reflect`)."""
    padded = np.zeros(samples + 2 * _EDGE_SAMPLES)
    body = padded[_EDGE_SAMPLES : _EDGE_SAMPLES + samples]
    body[: len(audio)] = audio
    padded[:_EDGE_SAMPLES] = body[_EDGE_SAMPLES:0:-1]
    padded[_EDGE_SAMPLES + samples :] = body[-2 : -_EDGE_SAMPLES - 2 : -1]
    return padded
