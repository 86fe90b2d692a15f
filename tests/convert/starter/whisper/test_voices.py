"""Who speaks, and what of it is kept."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from agent.errors import UnavailableError
from convert.starter.whisper import bank as banks
from convert.starter.whisper.bank import Bank, fill_bank, spoken_sentence
from convert.starter.whisper.voices import RATE_HZ, Voice, check_programs, draw_voice, speak

needs_synthesizers = pytest.mark.skipif(
    not (shutil.which("espeak-ng") and shutil.which("flite")), reason="espeak-ng and flite are not installed"
)


def timbre(voice: Voice) -> str:
    return voice.name.rpartition("+")[2] if voice.program == "espeak-ng" and "+" in voice.name else voice.name


@pytest.mark.parametrize(("more", "count"), [(False, 20), (True, 60)])
def test_held_out_voices_never_train(more: bool, count: int) -> None:
    rng = random.Random(1)
    train = {timbre(draw_voice(rng, more=more)) for _ in range(3000)}
    held_out = {timbre(draw_voice(rng, held_out=True)) for _ in range(3000)}
    assert len(train) > count
    assert {"rms", "f5"} <= held_out
    assert not train & held_out


@pytest.mark.parametrize(
    ("voice", "expected"),
    [
        (
            Voice("espeak-ng", "en-us+f1", 150.4, 50),
            ["espeak-ng", "-v", "en-us+f1", "-s", "150", "-p", "50", "--stdout", "-x"],
        ),
        (
            Voice("flite", "slt", 1.1, 120),
            [
                *("flite", "-voice", "slt", "-t", "-x", "-o", "/dev/stdout"),
                *("--setf", "duration_stretch=1.10", "--setf", "int_f0_target_mean=120"),
            ],
        ),
    ],
)
def test_commands(voice: Voice, expected: list[str]) -> None:
    assert voice.command("-x") == expected


def test_a_missing_synthesizer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "flite" else f"/usr/bin/{name}")
    with pytest.raises(UnavailableError, match=r"flite cannot be found.*apt-get install flite"):
        check_programs()


@needs_synthesizers
@pytest.mark.parametrize("voice", [Voice("espeak-ng", "en-us", 160, 50), Voice("flite", "slt", 1.0, 150)])
def test_speech_is_trimmed_and_loud(voice: Voice) -> None:
    samples = speak("Turn on the light.", voice)
    assert samples is not None
    assert 0.5 < len(samples) / RATE_HZ < 3
    assert np.abs(samples).max() == pytest.approx(20_000, abs=1)
    assert np.abs(samples[:400]).max() > 100
    assert speak("", voice) is None


@needs_synthesizers
def test_a_bank_is_filled_once_and_says_what_its_seed_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(banks, "PART", 2)
    seen: list[tuple[int, int]] = []
    fill_bank(tmp_path, 5, 3, frozenset(), lambda done, total: seen.append((done, total)))
    assert seen == [(2, 5), (4, 5), (5, 5)]
    bank = Bank(tmp_path)
    expected = [one for place in range(5) if (one := spoken_sentence(3, place, frozenset()))]
    assert bank.texts == [text for text, _ in expected]
    for place, (_, samples) in enumerate(expected):
        np.testing.assert_array_equal(bank.samples(place), samples.astype(np.float32) / 32768)
    monkeypatch.setattr(banks, "spoken_sentence", None)  # nothing is spoken again
    fill_bank(tmp_path, 5, 3, frozenset(), lambda done, total: None)
    assert Bank(tmp_path).texts == bank.texts
