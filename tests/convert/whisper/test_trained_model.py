"""The trained model of spoken commands, converted, hears what it hears in transformers.

The answers are in commands.npz (make_fixtures.py); the features are made here, by the engine's own `log_mel`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.engines.onnx.whisper.log_mel import WINDOW_FRAMES, log_mel
from agent.engines.onnx.whisper.mel_filters import mel_filters
from convert.quality.recordings import read_audio
from convert.whisper.measure import SpeechJudge
from tests.convert.whisper.onnx_whisper import OnnxWhisper, convert

SHARED = Path(__file__).resolve().parents[4] / "shared"
SOURCE = SHARED / "models" / "whisper-commands-hf"
AUDIO = SHARED / "audio" / "commands"
TOLERANCE = 1e-3

pytestmark = pytest.mark.skipif(not (SOURCE.is_dir() and AUDIO.is_dir()), reason="needs the trained model in ../shared")


@pytest.fixture(scope="module")
def answers() -> Any:
    return np.load(Path(__file__).with_name("commands.npz"))


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> OnnxWhisper:
    return OnnxWhisper(convert(SOURCE, tmp_path_factory.mktemp("commands") / "fp32"), threads=2)


def test_logits_of_20_recordings_are_those_of_transformers(whisper: OnnxWhisper, answers: Any) -> None:
    filters = mel_filters(80)
    ends = np.cumsum(answers["lengths"])
    steps = np.cumsum(answers["lengths"] + 1)  # a step more than tokens: the prompt's
    for index in range(len(ends)):
        audio = read_audio(AUDIO / str(answers["names"][index]), 30)
        whisper.listen(log_mel(audio, filters, WINDOW_FRAMES)[None])
        tokens = answers["tokens"][ends[index] - answers["lengths"][index] : ends[index]]
        found = [whisper.step(answers["prompt"][None])["logits"][0]]
        found += [whisper.step([[token]])["logits"][0] for token in tokens]
        np.testing.assert_allclose(found[0], answers["first"][index], atol=TOLERANCE, rtol=0)
        here = slice(steps[index] - len(found), steps[index])
        watched = np.take_along_axis(np.stack(found), answers["watched"][here].astype(np.int64), axis=1)
        np.testing.assert_allclose(watched, answers["logits"][here], atol=TOLERANCE, rtol=0)


@pytest.mark.slow
def test_recordings_are_heard_as_in_transformers_and_int8_is_good_enough(tmp_path: Path, answers: Any) -> None:
    """On every third of them: each takes the encoder through 30 s of audio."""
    chosen = {str(name): str(text) for name, text in zip(answers["names"][::3], answers["texts"][::3], strict=True)}
    judge = SpeechJudge(recordings(tmp_path / "recordings", chosen), threads=2, accept=False)
    judge.listen_to_reference(convert(SOURCE, tmp_path / "fp32"))
    assert judge.expected_texts == list(chosen.values())
    quality = judge.judge(convert(SOURCE, tmp_path / "int8", "int8"))
    assert quality["recordings"] == len(chosen) == 20
    assert quality["wer_increase_points"] <= 0.5


def recordings(folder: Path, names: Iterable[str]) -> Path:
    """A folder with some of the recordings, and what is said in them."""
    folder.mkdir()
    said = json.loads((AUDIO / "transcripts.json").read_text("utf-8"))
    for name in names:
        (folder / name).symlink_to(AUDIO / name)
    (folder / "transcripts.json").write_text(json.dumps({name: said[name] for name in names}))
    return folder
