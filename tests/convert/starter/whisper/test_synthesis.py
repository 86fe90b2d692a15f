"""Speech of all synthesizers, where its phones are, and the bank that keeps it."""

from __future__ import annotations

import ctypes
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from agent.errors import UnavailableError
from convert.starter.whisper import bank as banks
from convert.starter.whisper.bank import Bank, fill_bank, spoken_sentence
from convert.starter.whisper.synthesis import RATE_HZ, Speech, check_programs, speak
from convert.starter.whisper.synthesizers import festival
from convert.starter.whisper.synthesizers.festival import DIPHONE, HTS, Festival
from convert.starter.whisper.synthesizers.sound import SILENCE
from convert.starter.whisper.voices import Voice

ESPEAK = Voice("espeak-ng", "en-us+f1", 160, 50)
FLITE = Voice("flite", "slt", 1.0, 150)
VOICES = (ESPEAK, FLITE, Voice("festival", DIPHONE, 1.0, 150), Voice("festival", HTS, 1.0, 150))
ALL_PACKAGES = "espeak-ng flite no-festival festvox-kdlpc16k festvox-us-slt-hts"


def has_synthesizers() -> bool:
    try:
        check_programs()
    except UnavailableError:
        return False
    return True


needs_synthesizers = pytest.mark.skipif(not has_synthesizers(), reason="a synthesizer is not installed")


def missing(name: str) -> ctypes.CDLL:
    raise OSError(f"{name}: cannot open shared object file")


def test_missing_synthesizers_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(ctypes, "CDLL", missing)
    monkeypatch.setattr(festival, "PROGRAM", "no-festival")
    with pytest.raises(UnavailableError, match=f"espeak-ng, flite, .* cannot be found.*apt-get install {ALL_PACKAGES}"):
        check_programs()


@needs_synthesizers
def test_a_voice_of_festival_that_is_not_there_is_named() -> None:
    with pytest.raises(UnavailableError, match=r"no voice nobody.*apt-get install festvox-kdlpc16k festvox-us-slt-hts"):
        Festival("nobody")


@needs_synthesizers
def test_festival_ends_with_the_thread_that_spoke() -> None:
    seen: list[set[str]] = []

    def work() -> None:
        speak("Hello.", Voice("festival", DIPHONE, 1.0, 150))
        seen.append(children())

    before = children()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(seen[0] - before) == 1
    assert children() <= before


def children() -> set[str]:
    return {pid for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()}


@needs_synthesizers
@pytest.mark.parametrize(("voice", "pitches"), [("ked_diphone", (90, 180)), ("slt", (120, 200))])
def test_rate_and_pitch_are_as_asked(voice: str, pitches: tuple[float, float]) -> None:
    program = FLITE.program if voice == FLITE.name else "festival"
    slow, fast = (speak("Turn on the kitchen light.", Voice(program, voice, stretch, 120)) for stretch in (1.4, 0.8))
    assert slow is not None
    assert fast is not None
    assert len(slow.samples) > 1.5 * len(fast.samples)
    heard = []
    for pitch in pitches:
        speech = speak("Oh no, oh no, oh no.", Voice(program, voice, 1.0, pitch))
        assert speech is not None
        heard.append(pitch_hz(speech))
    assert heard == pytest.approx(pitches, rel=0.2)


def pitch_hz(speech: Speech) -> float:
    """The median over its loud parts, by autocorrelation."""
    found = []
    for start in range(0, len(speech.samples) - 800, 400):
        part = speech.samples[start : start + 800].astype(np.float64)
        if np.abs(part).max() > 5000:
            alike = np.correlate(part, part, "full")[len(part) - 1 :]
            found.append(RATE_HZ / (53 + int(alike[53:230].argmax())))
    return float(np.median(found))


@needs_synthesizers
@pytest.mark.parametrize("voice", VOICES)
def test_speech_is_trimmed_and_loud(voice: Voice) -> None:
    speech = speak("Turn on the light.", voice)
    assert speech is not None
    assert 0.5 < len(speech.samples) / RATE_HZ < 3
    assert np.abs(speech.samples).max() == pytest.approx(20_000, abs=1)
    assert np.abs(speech.samples[:400]).max() > 100
    assert speak("", voice) is None


@needs_synthesizers
@pytest.mark.parametrize("voice", VOICES)
def test_phones_are_where_they_are_said(voice: Voice) -> None:
    speech = speak("Seven sees.", voice)
    assert speech is not None
    names, starts = zip(*speech.phones, strict=True)
    assert [*starts] == sorted(starts)
    assert starts[-1] < len(speech.samples)
    alphabet = "espeak-ng" if voice == ESPEAK else "radio"
    assert {name.partition("/")[0] for name in names} == {SILENCE, alphabet}
    # An s hisses: most of its power is above 4 kHz; of the vowel in "sees", next to nothing.
    sounds = [name.partition("/")[2] for name in names]
    hiss = sounds.index("s")
    vowel = len(sounds) - 1 - next(place for place, name in enumerate(reversed(sounds)) if name.startswith("i"))
    shares = []
    for place in (hiss, vowel):
        power = np.abs(np.fft.rfft(speech.samples[starts[place] : starts[place + 1]])) ** 2
        shares.append(power[len(power) // 2 :].sum() / power.sum())
    assert shares[0] > 0.5 > 0.1 > shares[1]


@needs_synthesizers
def test_a_voice_that_is_not_there_is_named() -> None:
    with pytest.raises(UnavailableError, match=r"no voice xx-none.*apt-get install"):
        speak("Hello.", Voice("espeak-ng", "xx-none", 160, 50))


@needs_synthesizers
def test_a_bank_is_filled_once_and_says_what_its_seed_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(banks, "PART", 2)
    seen: list[tuple[int, int]] = []
    expected: list[tuple[str, Speech]] = []

    def speaking(seed: int, place: int, kept_out: frozenset[str]) -> tuple[str, Speech] | None:
        made = spoken_sentence(seed, place, kept_out)
        expected.extend([made] if made else [])
        return made

    monkeypatch.setattr(banks, "spoken_sentence", speaking)
    fill_bank(tmp_path, 5, 3, frozenset(), lambda done, total: seen.append((done, total)), workers=1)
    assert seen == [(2, 5), (4, 5), (5, 5)]
    bank = Bank(tmp_path)
    assert bank.texts == [text for text, _ in expected]
    assert bank.phone_names[0] == SILENCE
    for place, (_, speech) in enumerate(expected):
        np.testing.assert_array_equal(bank.samples(place), speech.samples.astype(np.float32) / 32768)
        phones, starts = bank.phones(place)
        found = [(bank.phone_names[phone], start) for phone, start in zip(phones, starts.tolist(), strict=True)]
        assert found == list(speech.phones)
    monkeypatch.setattr(banks, "spoken_sentence", None)  # nothing is spoken again
    fill_bank(tmp_path, 5, 3, frozenset(), lambda done, total: None)
    assert Bank(tmp_path).texts == bank.texts
