"""Words are laid over the audio: pauses decide where exactly, the attention which."""

from __future__ import annotations

import numpy as np
import pytest

from agent.engines.onnx.whisper.boundaries import POSITION_SAMPLES, loudness, word_spans

BURSTS = [(20, 38), (47, 60), (69, 99), (110, 122)]
"""Spoken words, in positions of 20 ms."""
LETTERS = [5, 4, 8, 3]
POSITIONS = 140


def bursts(noise: float = 0.0) -> np.ndarray:
    random = np.random.default_rng(0)
    audio = random.normal(0, noise, POSITIONS * POSITION_SAMPLES) if noise else np.zeros(POSITIONS * POSITION_SAMPLES)
    for start, end in BURSTS:
        audio[start * POSITION_SAMPLES : end * POSITION_SAMPLES] += random.normal(
            0, 0.1, (end - start) * POSITION_SAMPLES
        )
    return audio.astype(np.float32)


def attention(shift: int = 0) -> np.ndarray:
    matrix = np.full((len(BURSTS), POSITIONS), -0.5, dtype=np.float32)
    for word, (start, end) in enumerate(BURSTS):
        matrix[word, start + shift : end + shift] = 2.0
    return matrix


@pytest.mark.parametrize("noise", [0.0, 0.003])
@pytest.mark.parametrize("shift", [0, -8, 8])
def test_words_are_found_between_the_pauses_though_attention_is_late_or_early(noise: float, shift: int) -> None:
    found = word_spans(attention(shift), LETTERS, loudness(bursts(noise), POSITIONS))
    assert np.abs(np.array(found) - BURSTS).max() <= 1


def test_without_any_attention_the_pauses_do() -> None:
    nothing = np.zeros((len(BURSTS), POSITIONS), dtype=np.float32)
    assert np.abs(np.array(word_spans(nothing, LETTERS, loudness(bursts(), POSITIONS))) - BURSTS).max() <= 1


def test_without_any_pause_the_attention_does() -> None:
    edges = [0, 40, 60, 110, 140]
    matrix = np.full((4, POSITIONS), -1.0, dtype=np.float32)
    for word in range(4):
        matrix[word, edges[word] : edges[word + 1]] = 4.0
    loud = np.ones(POSITIONS + 1)
    found = np.array(word_spans(matrix, [4, 4, 4, 4], loud))
    assert np.abs(found[:, 0] - edges[:-1]).max() <= 5
    assert np.abs(found[:, 1] - edges[1:]).max() <= 5


def test_a_long_pause_belongs_to_no_word() -> None:
    audio = np.zeros(1_000 * POSITION_SAMPLES, dtype=np.float32)
    burst = np.random.default_rng(1).normal(0, 0.1, 20 * POSITION_SAMPLES)
    for start in (100, 900):
        audio[start * POSITION_SAMPLES : (start + 20) * POSITION_SAMPLES] = burst
    matrix = np.zeros((2, 1_000), dtype=np.float32)
    found = np.array(word_spans(matrix, [4, 4], loudness(audio, 1_000)))
    assert np.abs(found - [(100, 120), (900, 920)]).max() <= 1


@pytest.mark.parametrize("positions", [1, 2, 3, 7])
def test_more_words_than_positions_share_them(positions: int) -> None:
    found = word_spans(np.zeros((5, positions), dtype=np.float32), [1] * 5, np.ones(positions + 1))
    assert len(found) == 5
    assert all(0 <= start <= end <= positions for start, end in found)
    assert found == sorted(found)


@pytest.mark.parametrize("seed", range(10))
def test_words_never_overlap_nor_leave_the_audio(seed: int) -> None:
    random = np.random.default_rng(seed)
    words, positions = int(random.integers(1, 30)), int(random.integers(30, 400))
    matrix = random.normal(0, 3, (words, positions)).astype(np.float32)
    found = word_spans(matrix, random.integers(1, 12, words).tolist(), random.random(positions + 1))
    flat = [edge for span in found for edge in span]
    assert flat == sorted(flat)
    assert flat[0] >= 0
    assert flat[-1] <= positions
    assert all(start < end for start, end in found)


def test_hum_is_not_loud() -> None:
    time_s = np.arange(POSITIONS * POSITION_SAMPLES) / 16_000
    hum = (0.05 * np.sin(2 * np.pi * 50 * time_s)).astype(np.float32)
    loud = loudness(bursts() + hum, POSITIONS)
    assert loud[25] > 0.8
    assert loud[5] < 0.2
