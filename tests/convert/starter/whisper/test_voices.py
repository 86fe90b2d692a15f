"""Who speaks: the voices that train and those that never do."""

from __future__ import annotations

import random

from convert.starter.whisper.voices import Voice, draw_voice


def timbre(voice: Voice) -> str:
    return voice.name.rpartition("+")[2] if voice.program == "espeak-ng" and "+" in voice.name else voice.name


def test_held_out_voices_never_train() -> None:
    rng = random.Random(1)
    train = {timbre(draw_voice(rng)) for _ in range(3000)}
    held_out = {timbre(draw_voice(rng, held_out=True)) for _ in range(3000)}
    assert len(train) > 60
    assert {"rms", "f5"} <= held_out
    assert not train & held_out
