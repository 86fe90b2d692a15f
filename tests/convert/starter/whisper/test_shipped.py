"""The starter-whisper that ships, in the engine that serves it."""

from __future__ import annotations

import hashlib
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

import agent
from agent.engines.onnx.session import SessionOptions
from agent.engines.onnx.whisper.model import WhisperModel
from agent.store.manifest import Manifest, read_manifest
from convert.quality.wer import word_errors
from convert.starter.whisper.evaluation import heard_text, recorded, silent_clips
from convert.starter.whisper.packing import GATES
from convert.starter.whisper.sentences import held_out_sentences
from convert.starter.whisper.synthesis import speak
from convert.starter.whisper.voices import draw_voice

FOLDER = Path(agent.__file__).parent / "starter" / "models" / "starter-whisper"
MOST_BYTES = 7_000_000

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="starter-whisper is not in the package yet: python -m convert.starter.whisper makes it"
)
needs_synthesizers = pytest.mark.skipif(
    not (shutil.which("espeak-ng") and shutil.which("flite")), reason="espeak-ng and flite are not installed"
)


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return read_manifest(FOLDER / "manifest.json")


@pytest.fixture(scope="module")
def model() -> WhisperModel:
    return WhisperModel(FOLDER, SessionOptions(threads=1))


def test_its_files_are_those_of_its_manifest(manifest: Manifest) -> None:
    assert manifest.total_bytes <= MOST_BYTES
    assert {file.path for file in manifest.files} >= {"README.md", "LICENSE", "whisper.json"}
    for file in manifest.files:
        assert hashlib.sha256((FOLDER / file.path).read_bytes()).hexdigest() == file.sha256, file.path


def test_it_passed_every_gate_and_its_card_says_so(manifest: Manifest) -> None:
    assert manifest.quality["passed"]
    assert all(gate.holds(manifest.quality[gate.key]) for gate in GATES)
    card = (FOLDER / "README.md").read_text("utf-8")
    for key in ("wer_short_percent", "wer_full_percent"):
        assert f"{manifest.quality[key]:.1f}%" in card


def test_silence_and_noise_are_nothing(model: WhisperModel) -> None:
    assert [heard_text(model, clip) for clip in silent_clips(seed=77, count=12)] == [""] * 12


@needs_synthesizers
def test_held_out_sentences_in_held_out_voices_are_written(model: WhisperModel) -> None:
    rng, sounds = random.Random(9), np.random.default_rng(9)
    pairs = []
    for text in held_out_sentences(30, seed=99):
        speech = speak(text, draw_voice(rng, held_out=True))
        assert speech is not None
        pairs.append((text, heard_text(model, recorded(np.divide(speech.samples, 32768, dtype=np.float32), sounds))))
    # Thirty sentences vary: the figure of the card is of two hundred.
    assert word_errors(pairs).percent <= 16, [pair for pair in pairs if pair[0] != pair[1]]
