"""Batches by number: the same again, easy ones as they were spoken, the others as other speakers would have them."""

from __future__ import annotations

import numpy as np
import pytest

from convert.starter.whisper.batches import PARTS, Batches
from convert.starter.whisper.scenes import Conditions
from tests.convert.starter.whisper.tones import Tones

WARPS = 18
NO_WARP = 8


@pytest.fixture
def batches() -> Batches:
    stages = ((0.2, None), (0.6, Conditions()), (1.0, Conditions(warped_share=0.0)))
    return Batches(Tones(), 3, ((2, 8, 0.5), (4, 4, 0.5)), stages, warps=WARPS, no_warp=NO_WARP)


def test_a_batch_is_the_same_whenever_it_is_drawn(batches: Batches) -> None:
    first = batches.draw(5, 0, 0.3)
    batches.draw(6, 0, 0.3)
    again = batches.draw(5, 0, 0.3)
    np.testing.assert_array_equal(first.audio, again.audio)
    assert (first.scenes[0].said, first.forms) == (again.scenes[0].said, again.forms)
    assert first.rng.random() == again.rng.random()


def test_no_two_batches_are_alike(batches: Batches) -> None:
    lines = [batches.draw(number, part, 0.1).audio[0] for number in range(4) for part in range(PARTS)]
    assert len({line.tobytes() for line in lines}) == 4 * PARTS


def test_easy_ones_are_short_and_in_the_voices_as_they_are(batches: Batches) -> None:
    drawn = [batches.draw(number, 0, 0.1) for number in range(6)]
    assert {batch.audio.shape for batch in drawn} == {(4, 32_000)}
    assert all(batch.warps is None for batch in drawn)


def test_the_others_have_all_windows_and_half_of_them_are_warped(batches: Batches) -> None:
    drawn = [batches.draw(number, 0, 0.3) for number in range(40)]
    assert {batch.audio.shape for batch in drawn} == {(4, 32_000), (2, 64_000)}
    warps = np.concatenate([batch.warps for batch in drawn if batch.warps is not None])
    assert (warps.min(), warps.max()) == (0, WARPS - 1)
    assert 0.35 < (warps != NO_WARP).mean() < 0.65
    assert {form for batch in drawn for form in batch.forms} == {"timestamps", "plain"}


def test_what_the_trainer_hides_is_as_the_stage_says(batches: Batches) -> None:
    assert [batches.draw(0, 0, share).masked_share for share in (0.1, 0.3)] == [0.0, Conditions().masked_share]


def test_the_parts_of_a_batch_are_of_one_size(batches: Batches) -> None:
    for number in range(10):
        assert len({batches.draw(number, part, 0.3).audio.shape for part in range(PARTS)}) == 1


@pytest.mark.parametrize("share", [0.7, 1.0, 1.3])
def test_the_last_stage_lasts_until_the_end(batches: Batches, share: float) -> None:
    warps = batches.draw(1, 0, share).warps
    assert warps is not None
    assert set(warps.tolist()) == {NO_WARP}
