"""Blocks, frames and levels."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import RequestError
from agent.speech.pcm import FRAME_SAMPLES, Frames, Recent, dbfs, float_bytes, level_of

from .sounds import tone


@given(st.lists(st.integers(0, 900), max_size=20))
def test_frames_hold_every_sample_in_order_however_the_blocks_are_cut(lengths: list[int]) -> None:
    samples = [number % 32768 for number in range(sum(lengths))]
    frames = Frames()
    heard: list[float] = []
    at = 0
    for length in lengths:
        block = b"".join(sample.to_bytes(2, "little", signed=True) for sample in samples[at : at + length])
        for frame in frames.feed(block):
            assert len(frame) == FRAME_SAMPLES
            heard += frame
        at += length
    last, added = frames.pad()
    heard += last or []
    assert [round(value * 32768) for value in heard] == samples + [0] * added
    assert frames.pad() == (None, 0)


def test_half_a_sample_is_an_error_that_says_what_is_expected() -> None:
    with pytest.raises(RequestError, match="7 bytes is not 16-bit PCM"):
        list(Frames().feed(b"1234567"))


@pytest.mark.parametrize(("level", "expected"), [(1.0, 0.0), (0.1, -20.0), (0.0, -120.0), (1e-9, -120.0)])
def test_decibels(level: float, expected: float) -> None:
    assert dbfs(level) == pytest.approx(expected)


def test_the_level_of_a_tone_is_its_root_mean_square() -> None:
    frame = next(Frames().feed(tone(0.1, level=0.5, hz=500)))
    assert level_of(frame) == pytest.approx(0.5 / 2**0.5, rel=0.01)


def test_the_past_is_there_until_it_is_forgotten() -> None:
    recent = Recent()
    recent.append(float_bytes([0.0, 1.0, 2.0, 3.0]))
    recent.forget_before(2)
    recent.append(float_bytes([4.0]))
    assert recent.cut(2, 5) == float_bytes([2.0, 3.0, 4.0])
    assert recent.samples == 3
    for start, end in [(1, 3), (3, 6), (4, 3)]:
        with pytest.raises(ValueError, match="2 to 5 are held"):
            recent.cut(start, end)
    recent.restart(100)
    recent.append(float_bytes([7.0]))
    assert recent.cut(100, 101) == float_bytes([7.0])
